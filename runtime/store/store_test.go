package store

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/fcnode/fcnode/runtime/spec"
)

const fullSpec = `
name: shop
domains: [shop.example.com, www.shop.example.com]
image: oci:/images/shop:v1
entrypoint: []
command: [serve, --verbose]
env: {MODE: fast, EMPTY: ""}
user: www-data
addresses: [10.77.0.9]
ports: [80, 443/tcp, 53/udp]
volumes: [{source: /srv/shop, target: /var/www, readOnly: true}]
limits: {cpu: {min: 0.25, max: 4}, memory: {min: 128MiB, max: 2GiB}, pids: 512}
scale: {min: 1, max: 1}
idle: never
stop: {grace: 3s, signal: SIGINT}
readOnlyRoot: true
`

func parse(t testing.TB, text string) spec.Site {
	t.Helper()
	sites, err := spec.Parse("test.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return sites[0]
}

func simple(t testing.TB, name string) *Site {
	t.Helper()
	return &Site{Spec: parse(t, "name: "+name+"\nimage: dir:/x\nports: [80]\n")}
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, sites ...*Site) {
	t.Helper()
	if err := s.Put(sites); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, s *Store) (out []string) {
	t.Helper()
	if err := s.All(func(site *Site) error { out = append(out, site.Spec.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "state.db")
	s := open(t, path)
	want := &Site{Source: "/etc/fcnode/sites/shop.yaml", Spec: parse(t, fullSpec)}
	want.SetAddr(netip.MustParseAddr("10.77.0.9"))
	want.SetAddr(netip.MustParseAddr("fd77:fc::9"))
	plain := simple(t, "plain")
	put(t, s, want, plain)
	if want.ID == 0 || plain.ID == 0 || want.ID == plain.ID {
		t.Fatalf("ids %d and %d", want.ID, plain.ID)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path)
	for _, w := range []*Site{want, plain} {
		got, err := s.Get(w.Spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, w) {
			t.Errorf("kept and read again:\n got %+v\nwant %+v", got, w)
		}
		// the digest decides whether a container is started anew
		if got.Spec.Digest() != w.Spec.Digest() {
			t.Errorf("%s: its digest changed on the disk", w.Spec.Name)
		}
	}
	if got := names(t, s); !slices.Equal(got, []string{"plain", "shop"}) {
		t.Errorf("All: %v, want them ordered by name", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600: specs may hold secrets", info.Mode(), err)
	}
}

func TestGetAndDeleteOfNobody(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	if _, err := s.Get("nobody"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Get: %v, want ErrNotFound with the name", err)
	}
	put(t, s, simple(t, "a"), simple(t, "b"))
	if err := s.Delete("nobody", "a"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if got := names(t, s); !slices.Equal(got, []string{"b"}) {
		t.Errorf("after deleting a: %v", got)
	}
}

func TestPutReplaces(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	a := simple(t, "a")
	put(t, s, a)
	id := a.ID
	a.Source = "new"
	put(t, s, a)
	got, err := s.Get("a")
	if err != nil || got.ID != id || got.Source != "new" {
		t.Errorf("got %+v (%v), want id %d and the new source", got, err, id)
	}
}

// A site that bbolt refuses (a key longer than it takes) makes the whole Put
// fail: neither its neighbours nor their numbers stay.
func TestPutIsAllOrNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	put(t, s, simple(t, "before"))
	good, bad := simple(t, "good"), simple(t, "bad")
	bad.Spec.Name = strings.Repeat("x", bolt.MaxKeySize+1)
	old, err := s.Get("before")
	if err != nil {
		t.Fatal(err)
	}
	old.Source = "changed"
	if err := s.Put([]*Site{old, good, bad}); err == nil {
		t.Fatal("no error")
	}
	if got := names(t, s); !slices.Equal(got, []string{"before"}) {
		t.Errorf("kept %v, want only what was there before", got)
	}
	if got, err := s.Get("before"); err != nil || got.Source != "" {
		t.Errorf("before is %+v (%v), want it as it was", got, err)
	}
	if good.ID != 0 || old.ID == 0 {
		t.Errorf("ids %d and %d: a number that was not kept would be given to two", good.ID, old.ID)
	}
	put(t, s, simple(t, "other"))
	put(t, s, good)
	if other, err := s.Get("other"); err != nil || other.ID == good.ID {
		t.Errorf("two sites have number %d (%v)", good.ID, err)
	}
}

func TestIDsAreNeverUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	seen := map[uint32]string{}
	for round := range 4 {
		s := open(t, path)
		a, b := simple(t, fmt.Sprintf("a%d", round)), simple(t, fmt.Sprintf("b%d", round))
		put(t, s, a)
		if err := s.Delete(a.Spec.Name); err != nil {
			t.Fatal(err)
		}
		put(t, s, b)
		if err := s.Delete(b.Spec.Name); err != nil {
			t.Fatal(err)
		}
		for _, site := range []*Site{a, b} {
			if other, used := seen[site.ID]; used || site.ID == 0 {
				t.Errorf("%s has number %d, which was %s's", site.Spec.Name, site.ID, other)
			}
			seen[site.ID] = site.Spec.Name
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplicaIDsAreNeverUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	var end uint32
	for range 3 {
		s := open(t, path)
		for range 3 {
			first, last, err := s.ReplicaIDs()
			if err != nil {
				t.Fatal(err)
			}
			if first <= end || last < first {
				t.Fatalf("got %d to %d after %d", first, last, end)
			}
			end = last
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	put(t, s, simple(t, "a"))
	err := s.db.Update(func(tx *bolt.Tx) error { return putNumber(tx.Bucket(bucketMeta), keyVersion, version+1) })
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, Options{}); err == nil {
		s.Close()
		t.Fatal("opened a file of a newer version")
	} else if !strings.Contains(err.Error(), "newer fcnode") || !strings.Contains(err.Error(), path) {
		t.Errorf("%v: does not say what is wrong with which file", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
	// and it is not locked by the failed try
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 1})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

func TestSecondOpenerIsLockedOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if second, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		if err == nil {
			second.Close()
		}
		t.Fatalf("second Open: %v, want ErrLocked", err)
	}
	put(t, s, simple(t, "a")) // the first is not disturbed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestNotAStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("name: blog\n", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, Options{}); err == nil {
		s.Close()
		t.Fatal("opened a text file as state")
	} else if !strings.Contains(err.Error(), path) {
		t.Errorf("%v: does not name the file", err)
	}
}

func BenchmarkLoad(b *testing.B) {
	const sites = 10000
	s := open(b, filepath.Join(b.TempDir(), "state.db"))
	all := make([]*Site, sites)
	for i := range all {
		all[i] = simple(b, fmt.Sprintf("site-%d", i))
	}
	put(b, s, all...)
	for b.Loop() {
		if err := s.All(func(*Site) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sites, "ns/site")
}
