package sites

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// shelf is a table of sites on a disk, without a kernel below it.
type shelf struct {
	*Table
	t *testing.T
}

func openShelf(t *testing.T, dir, prefix string) shelf {
	t.Helper()
	kept, err := store.Open(filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Prefixes = []netip.Prefix{netip.MustParsePrefix(prefix)}
	log := slog.New(slog.DiscardHandler)
	volumes, err := volume.OpenStore(filepath.Join(dir, "volumes"), log)
	if err != nil {
		t.Fatal(err)
	}
	s := shelf{NewTable(&life.Host{Cfg: cfg, Log: log, Store: kept, NamedVolumes: volumes}), t}
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(kept.Close(), volumes.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// apply adds a site and gives its address.
func (s shelf) apply(name string, addrs ...string) netip.Addr {
	s.t.Helper()
	changes, err := s.try(name, addrs...)
	if err != nil {
		s.t.Fatal(err)
	}
	var records []*store.Site
	for _, c := range changes {
		records = append(records, c.record)
	}
	if err := s.host.Store.Put(records); err != nil {
		s.t.Fatal(err)
	}
	s.takeOver(changes)
	s.commitEnded(changes)
	return changes[0].record.Addr4
}

func (s shelf) try(name string, addrs ...string) ([]change, error) {
	site := spec.Site{Name: name, Image: "dir:/a", Ports: []spec.Port{{Port: 80, Proto: "tcp"}}}
	for _, a := range addrs {
		site.Addresses = append(site.Addresses, netip.MustParseAddr(a))
	}
	return s.plan([]spec.Site{site}, origin{}, nil)
}

func (s shelf) drop(name string, keep time.Duration) {
	s.t.Helper()
	e, err := s.ByName(name)
	if err != nil {
		s.t.Fatal(err)
	}
	r := store.Reservation{Addr4: e.Addr4, Until: time.Now().Add(keep)}
	if err := s.host.Store.DeleteReserving(name, r); err != nil {
		s.t.Fatal(err)
	}
	s.unlist(e, &r)
}

// TestAddressesComeBack: the addresses of a deleted site are nobody else's until its time is over, also over a restart, and a
// site of its name has them again.
func TestAddressesComeBack(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, "10.0.0.0/28") // 14 addresses
	blog, old := s.apply("blog"), s.apply("old")
	s.drop("blog", time.Hour)
	s.drop("old", -time.Second)
	if err := s.host.Store.Close(); err != nil {
		t.Fatal(err)
	}
	s = openShelf(t, dir, "10.0.0.0/28")
	var others []netip.Addr
	for i := range 13 {
		others = append(others, s.apply(fmt.Sprintf("other%d", i)))
	}
	if slices.Contains(others, blog) || !slices.Contains(others, old) {
		t.Errorf("the addresses %v are given out, %s was reserved and %s no more", others, blog, old)
	}
	// A plan that comes to nothing gives the address back to its name.
	for range 2 {
		changes, err := s.try("blog")
		if err != nil || changes[0].record.Addr4 != blog {
			t.Fatalf("%v: %+v, want %s", err, changes[0].record, blog)
		}
		s.giveBack(changes)
		if changes, err := s.try("more"); err != nil || changes[0].record.Addr4 != blog {
			t.Errorf("a full prefix: %v", err) // the last one goes before a site is refused
		} else {
			s.giveBack(changes)
		}
	}
	if got := s.apply("blog"); got != blog {
		t.Errorf("it is back at %s, and was at %s", got, blog)
	}
	if changes, err := s.try("more"); !errors.Is(err, errNoAddress) {
		t.Errorf("nothing is left: %v", err)
	} else {
		s.giveBack(changes)
	}
	// Whoever names the address has it, and then it is not reserved any more.
	s.drop("blog", time.Hour)
	if got := s.apply("heir", blog.String()); got != blog {
		t.Errorf("the heir is at %s", got)
	}
	if left, err := s.host.Store.Reservations(); err != nil || len(left) > 0 {
		t.Errorf("reserved on disk: %v, %v", left, err)
	}
}

// TestFolderThatIsNotMounted: sites are not believed to be gone when all of them are, or more than a share.
func TestFolderThatIsNotMounted(t *testing.T) {
	for _, tt := range []struct {
		gone, had int
		share     spec.Percent
		want      bool
	}{
		{0, 0, 50, true}, {0, 5, 50, true}, {1, 1, 50, false}, {5, 5, 50, false}, {1, 2, 50, true}, {2, 3, 50, false}, {5, 10, 50, true}, {6, 10, 50, false},
		{1, 10, 0, false}, {5, 5, 100, true}, {9, 10, 90, true},
	} {
		cfg := config.Default()
		cfg.Deletion.Share = tt.share
		err := NewTable(&life.Host{Cfg: cfg}).plausible("/etc/fcnode/sites", false, make([]string, tt.gone), tt.had)
		if (err == nil) != tt.want {
			t.Errorf("%d of %d with %s: %v", tt.gone, tt.had, tt.share, err)
		}
	}
}

// TestPurgeAfterAKill: a daemon was killed after it had deleted a site and before its volumes; whoever deletes again is heard.
func TestPurgeAfterAKill(t *testing.T) {
	dir := t.TempDir()
	s := openShelf(t, dir, "10.0.0.0/28")
	data := filepath.Join(dir, "volumes", "blog", "html", "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "blog", false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	if _, err := os.Stat(data); err != nil {
		t.Errorf("without purge the volume went: %v", err)
	}
	if err := s.Delete(t.Context(), "blog", true); err != nil {
		t.Errorf("purged: %v", err)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its data stay: %v", err)
	}
	if err := s.Delete(t.Context(), "blog", true); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("purged again: %v", err)
	}
}
