package store

import (
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// One record that cannot be read is told, and the others are served.
func TestReadablePassesDamagedRecordsOver(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	put(t, s, simple(t, "a"), simple(t, "c"))
	err := s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketSites).Put([]byte("b"), []byte(`{"spec":{"ofTheFuture":1}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	var good, bad []string
	err = s.Readable(func(site *Site) error {
		good = append(good, site.Spec.Name)
		return nil
	}, func(name string, err error) error {
		if err == nil {
			t.Error("no error")
		}
		bad = append(bad, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(good) != 2 || good[0] != "a" || good[1] != "c" || len(bad) != 1 || bad[0] != "b" {
		t.Errorf("good %v, bad %v; want a, c and b", good, bad)
	}
	if err := s.All(func(*Site) error { return nil }); err == nil {
		t.Error("All says nothing about the damaged record")
	}
}
