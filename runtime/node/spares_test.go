package node

import (
	"maps"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
)

func TestPressureOf(t *testing.T) {
	for text, want := range map[string]float64{
		"some avg10=31.25 avg60=3.00 avg300=1.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n": 31.25,
		"some avg10=0.00 avg60=9.00 avg300=1.00 total=12\n":                                                  0,
		"": 0, "nonsense": 0, "some avg10=x": 0,
	} {
		if got := pressureOf(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestPlaced: who is found out of the site's set, though others are in it, serves nobody.
func TestPlaced(t *testing.T) {
	set := func(in ...bpf.SiteReplica) bpf.Site { return bpf.Site{Replicas: in} }
	for what, c := range map[string]struct {
		set  bpf.Site
		want site.Found
	}{
		"serves":                      {set(bpf.SiteReplica{ID: 7}, bpf.SiteReplica{ID: 8}), site.Found{}},
		"drains":                      {set(bpf.SiteReplica{ID: 7, Draining: true}, bpf.SiteReplica{ID: 8}), site.Found{Draining: true}},
		"a spare one":                 {set(bpf.SiteReplica{ID: 8}), site.Found{Spare: true}},
		"the site sleeps":             {set(), site.Found{}},
		"only one that drains serves": {set(bpf.SiteReplica{ID: 8, Draining: true}), site.Found{}},
	} {
		var got site.Found
		if placed(&got, 7, c.set); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

func TestSettable(t *testing.T) {
	l := cgroup.Limits{CPU: 2, MemoryHigh: 1 << 28, MemoryMax: 1 << 29, Pids: 100, MemoryLow: 1 << 20}
	all := settable(l, func(string) bool { return true })
	if *all.CPU != 2 || *all.MemoryHigh != 1<<28 || *all.MemoryMax != 1<<29 || *all.Pids != 100 || all.MemoryLow != nil {
		t.Errorf("with all controllers: %+v", all)
	}
	none := settable(l, func(string) bool { return false })
	if none.CPU != nil || none.MemoryHigh != nil || none.MemoryMax != nil || none.Pids != nil || len(none.IO) > 0 {
		t.Errorf("without any: %+v", none)
	}
}

// TestInherit: the time of a replica that ended before anybody came is that of the one that is made in its place.
func TestInherit(t *testing.T) {
	s := &scaling{outs: map[site.ReplicaID]uint64{2: 100, 3: 200}, begun: map[site.ReplicaID]uint64{2: 110, 3: 210}}
	s.inherit(map[site.ReplicaID]bool{3: true, 4: true, 5: false})
	if want := map[site.ReplicaID]uint64{3: 200, 4: 100}; !maps.Equal(s.outs, want) {
		t.Errorf("asked for at %v, want %v", s.outs, want)
	}
	if want := map[site.ReplicaID]uint64{3: 210}; !maps.Equal(s.begun, want) {
		t.Errorf("begun at %v, want %v", s.begun, want)
	}
}
