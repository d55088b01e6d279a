package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// bucketDenied is made by the first that is kept: a file of an earlier fcnode has
// none.
var bucketDenied = []byte("denied")

// Denial is a prefix of sources that may not reach the node's sites.
type Denial struct {
	Prefix netip.Prefix `json:"-"`
	Since  time.Time    `json:"since"`
	Until  time.Time    `json:"until,omitzero"` // zero: for good
}

// Ended says whether it holds no more.
func (d Denial) Ended(now time.Time) bool { return !d.Until.IsZero() && !now.Before(d.Until) }

// Denied returns all that are kept. A record that cannot be read is told to bad
// and left out: it must not keep the others from being denied.
func (s *Store) Denied(bad func(prefix string, err error)) ([]Denial, error) {
	var out []Denial
	err := s.view(func(tx *bolt.Tx) error {
		out = readDenials(tx, bad)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the denied sources from the state file: %w", err)
	}
	return out, nil
}

// PutDenied keeps all of them, or none.
func (s *Store) PutDenied(all []Denial) error {
	kept := map[netip.Prefix]Denial{}
	for _, d := range all {
		kept[d.Prefix] = d
	}
	err := s.update(func(tx *bolt.Tx) error { return putDenials(tx, kept) })
	if err != nil {
		return fmt.Errorf("keep %d denied sources in the state file: %w", len(all), err)
	}
	s.touched()
	return nil
}

// DeleteDenied removes them; one that is not there is no error.
func (s *Store) DeleteDenied(prefixes []netip.Prefix) error {
	err := s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketDenied)
		if b == nil {
			return nil
		}
		for _, p := range prefixes {
			if err := b.Delete([]byte(p.String())); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %d denied sources from the state file: %w", len(prefixes), err)
	}
	s.touched()
	return nil
}

// readDenials returns those that can be read, and tells bad of the others.
func readDenials(tx *bolt.Tx, bad func(prefix string, err error)) (out []Denial) {
	b := tx.Bucket(bucketDenied)
	if b == nil {
		return nil
	}
	_ = b.ForEach(func(k, v []byte) error { // fails as its function does
		var d Denial
		var err error
		if d.Prefix, err = netip.ParsePrefix(string(k)); err == nil {
			err = json.Unmarshal(v, &d)
		}
		if err != nil {
			bad(string(k), err)
			return nil
		}
		out = append(out, d)
		return nil
	})
	return out
}

// denials are those that the copy has: what cannot be read was told at the start.
func denials(tx *bolt.Tx) map[netip.Prefix]Denial {
	all := map[netip.Prefix]Denial{}
	for _, d := range readDenials(tx, func(string, error) {}) {
		all[d.Prefix] = d
	}
	return all
}

func putDenials(tx *bolt.Tx, all map[netip.Prefix]Denial) error {
	if len(all) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketDenied)
	if err != nil {
		return err
	}
	for prefix, d := range all {
		v, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if err := b.Put([]byte(prefix.String()), v); err != nil {
			return err
		}
	}
	return nil
}
