package network

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

func (k *kernel) SetAllowance(id bpf.SiteID, a bpf.Allowance) error {
	if k.allowances == nil {
		k.allowances = map[bpf.SiteID]bpf.Allowance{}
	}
	k.allowances[id] = a
	return nil
}

func (k *kernel) DeleteAllowance(id bpf.SiteID) error { delete(k.allowances, id); return nil }

func (k *kernel) Allowances() (map[bpf.SiteID]bpf.Allowance, error) {
	if k.allowances == nil {
		return map[bpf.SiteID]bpf.Allowance{}, nil
	}
	listed := maps.Clone(k.allowances)
	if k.sends != 0 {
		k.allowances[k.sends] = k.allowances[0]
	}
	return listed, nil
}

func (k *kernel) metering() (out []string) {
	for id, a := range k.allowances {
		out = append(out, fmt.Sprintf("%d: %d/%s %d/%s", id, a.Connections.Burst, a.Connections.Every, a.Packets.Burst, a.Packets.Every))
	}
	slices.Sort(out)
	return out
}

// What the programs have copied of the node's goes when the node's has changed, and when
// its site has gone, over restarts of the daemon.
func TestAllowancesFollowSites(t *testing.T) {
	k := &kernel{rules: map[bpf.Rule]bool{}}
	node := spec.Network{Rate: spec.NetworkRate{Connections: 100, Packets: 20000}}
	r := open(t, k, node)
	want := func(when string, lines ...string) {
		t.Helper()
		if got := k.metering(); !slices.Equal(got, lines) {
			t.Errorf("%s:\n%q, want\n%q", when, got, lines)
		}
	}
	copied := func(id bpf.SiteID) { k.allowances[id] = k.allowances[0] }
	all := "0: 1000/10ms 20000/50µs"
	sites := map[string]Site{
		"plain": {ID: 1}, "gone": {ID: 2},
		"scraper": {ID: 3, Network: &spec.Network{Rate: spec.NetworkRate{Connections: 500}}},
		"open":    {ID: 4, Network: &spec.Network{Rate: spec.NetworkRate{Connections: spec.Unlimited, Packets: spec.Unlimited}}},
	}
	become(t, r, sites)
	want("at first", all, "3: 5000/2ms 20000/50µs", "4: 0/0s 0/0s")
	copied(1)
	copied(2)
	delete(sites, "gone")
	sites["open"] = Site{ID: 4}
	become(t, r, sites)
	want("a site and a wish have gone", all, "1: 1000/10ms 20000/50µs", "3: 5000/2ms 20000/50µs")

	r = open(t, k, node) // a daemon after kill -9, while which "plain" was deleted
	delete(sites, "plain")
	become(t, r, sites)
	want("another daemon", all, "3: 5000/2ms 20000/50µs")

	copied(4)
	r = open(t, k, spec.Network{Rate: spec.NetworkRate{Connections: 10, Packets: 20000}})
	become(t, r, sites)
	want("another configuration", "0: 100/100ms 20000/50µs", "3: 5000/2ms 20000/50µs")
}

// What a site sends just when a daemon with another configuration starts leaves no copy of the earlier one.
func TestAllowanceOfWhoSendsMeanwhile(t *testing.T) {
	k := &kernel{rules: map[bpf.Rule]bool{}}
	open(t, k, spec.Network{Rate: spec.NetworkRate{Connections: 100, Packets: 20000}})
	k.sends = 1
	r := open(t, k, spec.Network{Rate: spec.NetworkRate{Connections: 10, Packets: 20000}})
	become(t, r, map[string]Site{"busy": {ID: 1}})
	if got := k.allowances[1]; got != k.allowances[0] {
		t.Errorf("it may send %+v, all others %+v", got, k.allowances[0])
	}
}
