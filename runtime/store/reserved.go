package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Reservation keeps the addresses of a deleted site for one of the same name.
type Reservation struct {
	Addr4 netip.Addr `json:"addr4,omitzero"`
	Addr6 netip.Addr `json:"addr6,omitzero"`
	Until time.Time  `json:"until"`
}

// DeleteReserving deletes a site and reserves its addresses, in one transaction.
// Put of a site of that name ends the reservation.
func (s *Store) DeleteReserving(name string, r Reservation) error {
	err := s.update(func(tx *bolt.Tx) error {
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		kept, err := tx.CreateBucketIfNotExists(bucketKept)
		if err != nil {
			return err
		}
		if err := kept.Put([]byte(name), raw); err != nil {
			return err
		}
		return errors.Join(tx.Bucket(bucketSites).Delete([]byte(name)), deleteVersions(tx, name))
	})
	if err != nil {
		return fmt.Errorf("delete site %s from the state file: %w", name, err)
	}
	s.touched()
	return nil
}

// EndReservations removes those of these names.
func (s *Store) EndReservations(names ...string) error {
	err := s.update(func(tx *bolt.Tx) error {
		kept := tx.Bucket(bucketKept)
		for _, name := range names {
			if kept == nil {
				return nil
			}
			if err := kept.Delete([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end the reservation of addresses in the state file: %w", err)
	}
	s.touched()
	return nil
}

// Reservations are all, by the names of the sites. One that cannot be read is
// none: its addresses are free again.
func (s *Store) Reservations() (map[string]Reservation, error) {
	var out map[string]Reservation
	err := s.view(func(tx *bolt.Tx) error {
		out = reservations(tx)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the reserved addresses from the state file: %w", err)
	}
	return out, nil
}

func reservations(tx *bolt.Tx) map[string]Reservation {
	out := map[string]Reservation{}
	kept := tx.Bucket(bucketKept)
	if kept == nil {
		return out
	}
	_ = kept.ForEach(func(name, raw []byte) error { // fails as the function does
		var r Reservation
		if json.Unmarshal(raw, &r) == nil {
			out[string(name)] = r
		}
		return nil
	})
	return out
}
