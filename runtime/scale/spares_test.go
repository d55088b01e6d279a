package scale

import (
	"maps"
	"testing"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
)

func TestSettable(t *testing.T) {
	l := cgroup.Limits{CPU: 2, MemoryHigh: 1 << 28, MemoryMax: 1 << 29, Pids: 100, MemoryLow: 1 << 20}
	all := Settable(l, func(string) bool { return true })
	if *all.CPU != 2 || *all.MemoryHigh != 1<<28 || *all.MemoryMax != 1<<29 || *all.Pids != 100 || all.MemoryLow != nil {
		t.Errorf("with all controllers: %+v", all)
	}
	none := Settable(l, func(string) bool { return false })
	if none.CPU != nil || none.MemoryHigh != nil || none.MemoryMax != nil || none.Pids != nil || len(none.IO) > 0 {
		t.Errorf("without any: %+v", none)
	}
}

// TestInherit: the time of a replica that ended before anybody came is that of the one that is made in its place.
func TestInherit(t *testing.T) {
	s := &State{outs: map[site.ReplicaID]uint64{2: 100, 3: 200}, begun: map[site.ReplicaID]uint64{2: 110, 3: 210}}
	s.inherit(map[site.ReplicaID]bool{3: true, 4: true, 5: false})
	if want := map[site.ReplicaID]uint64{3: 200, 4: 100}; !maps.Equal(s.outs, want) {
		t.Errorf("asked for at %v, want %v", s.outs, want)
	}
	if want := map[site.ReplicaID]uint64{3: 210}; !maps.Equal(s.begun, want) {
		t.Errorf("begun at %v, want %v", s.begun, want)
	}
}
