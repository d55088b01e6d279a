package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/fcnode/fcnode/runtime/spec"
)

// KeptVersions is how many earlier versions are kept of each site.
const KeptVersions = 5

var bucketVersions = []byte("versions") // lists, by the names of the sites; files of older daemons have none

// Version is what a site was before it was changed.
type Version struct {
	Revision uint64    `json:"revision"`
	Replaced time.Time `json:"replaced"`
	Image    string    `json:"image,omitempty"` // digest that the site ran from; empty as Site.Image
	Spec     spec.Site `json:"spec"`
}

// Replace does as Put, and keeps what the sites were before: spec and image of each
// that changes in one of them, which gets the next revision.
func (s *Store) Replace(sites []*Site) error {
	return s.put(sites, func(tx *bolt.Tx, site *Site) error {
		raw := tx.Bucket(bucketSites).Get([]byte(site.Spec.Name))
		if raw == nil {
			site.Revision = 1
			return deleteVersions(tx, site.Spec.Name)
		}
		old, err := decodeSite([]byte(site.Spec.Name), raw)
		if err != nil { // it is replaced because of that
			site.Revision = 1
			return nil //nolint:nilerr // there is nothing to go back to
		}
		site.Revision = max(old.Revision, 1)
		if old.same(site.Image, &site.Spec) || old.Image == "" && old.Spec.Digest() == site.Spec.Digest() {
			return nil
		}
		v := Version{Revision: site.Revision, Replaced: time.Now().UTC(), Image: old.Image, Spec: old.Spec}
		site.Revision++
		return keepVersion(tx, v, site)
	})
}

func (s *Site) same(image string, sp *spec.Site) bool {
	return s.Image == image && s.Spec.Digest() == sp.Digest()
}

// keepVersion puts a version before the others. One that the site is now is none
// of the earlier ones.
func keepVersion(tx *bolt.Tx, v Version, now *Site) error {
	bucket, err := tx.CreateBucketIfNotExists(bucketVersions)
	if err != nil {
		return err
	}
	name := []byte(v.Spec.Name)
	all := slices.DeleteFunc(versions(bucket.Get(name)), func(w Version) bool {
		return w.Revision >= v.Revision || now.same(w.Image, &w.Spec)
	})
	all = slices.Insert(all, 0, v)
	raw, err := json.Marshal(all[:min(len(all), KeptVersions)])
	if err != nil {
		return err
	}
	return bucket.Put(name, raw)
}

// versions reads a list. One that cannot be read is empty: it is nothing that a
// site needs.
func versions(raw []byte) []Version {
	var all []Version
	if raw == nil || json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

func deleteVersions(tx *bolt.Tx, name string) error {
	if bucket := tx.Bucket(bucketVersions); bucket != nil {
		return bucket.Delete([]byte(name))
	}
	return nil
}

// Versions are the earlier ones of a site, the newest first, at most KeptVersions.
func (s *Store) Versions(name string) ([]Version, error) {
	var out []Version
	err := s.view(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketSites).Get([]byte(name))
		bucket := tx.Bucket(bucketVersions)
		if raw == nil || bucket == nil {
			return nil
		}
		now, err := decodeSite([]byte(name), raw)
		if err != nil {
			return err
		}
		// A change that was taken back has left one that is not earlier.
		out = slices.DeleteFunc(versions(bucket.Get([]byte(name))), func(v Version) bool { return v.Revision >= max(now.Revision, 1) })
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the versions of site %s from the state file: %w", name, err)
	}
	return out, nil
}

// PreviousImages are the digests of the images that sites ran from before they were
// changed last.
func (s *Store) PreviousImages() ([]string, error) {
	var out []string
	err := s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketVersions)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(_, raw []byte) error {
			if all := versions(raw); len(all) > 0 && all[0].Image != "" {
				out = append(out, all[0].Image)
			}
			return nil
		})
	})
	if err != nil {
		return nil, errors.Join(errors.New("read the images of earlier versions from the state file"), err)
	}
	return out, nil
}
