package life

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/event"
)

func TestPreparedMakeRoom(t *testing.T) {
	var s preparedSet
	add := func(memory uint64) (w *waiting, out int) {
		w = &waiting{e: &Site{}, r: &Replica{}, memory: memory}
		s.add(w, 3, 100, func(*waiting) { out++ })
		return w, out
	}
	a, _ := add(10)
	for range 2 {
		if _, out := add(10); out > 0 {
			t.Fatalf("%d made room though there was some", out)
		}
	}
	s.remove(a.r)
	if _, out := add(10); out > 0 {
		t.Errorf("%d made room for one who took the place of one that is gone", out)
	}
	if _, out := add(10); out != 1 {
		t.Errorf("%d made room for the fourth", out)
	}
	if _, out := add(95); out != 3 {
		t.Errorf("%d made room for one that holds nearly all the memory", out)
	}
	if got := len(s.sites()); got != 1 {
		t.Errorf("%d wait", got)
	}
}

// TestDamagedExperienceIsMovedAside: a file that cannot be read is kept for people, counted and told of, and learnt anew.
func TestDamagedExperienceIsMovedAside(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, w *world, d *daemon, s *Site) {
		path := d.Experiences.File("a")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"tiers":{"cold":{"wak`), 0o600); err != nil {
			t.Fatal(err)
		}
		d.up(t, s)
		if aside, err := os.ReadDir(filepath.Join(w.dir, "quarantine")); err != nil || len(aside) != 1 {
			t.Errorf("moved away were %v (%v)", aside, err)
		}
		if got := d.Quarantine.Counted()[BadFile]; got != 1 {
			t.Errorf("%d are counted", got)
		}
		wantKinds(t, d, event.Quarantined, event.Running)
	})
}
