package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

func (k *kernel) SetIgnored(s bpf.IgnoredSource) error {
	if k.room > 0 && !k.sources[s] && len(k.sources) >= k.room {
		return errFull
	}
	k.sources[s] = true
	return nil
}

func (k *kernel) DeleteIgnored(s bpf.IgnoredSource) error { delete(k.sources, s); return nil }

func (k *kernel) Ignored() (map[bpf.IgnoredSource]bool, error) {
	return maps.Collect(maps.All(k.sources)), nil
}

func (k *kernel) SetIgnoredAnswer(id bpf.SiteID, answer bool) error {
	k.answers[id] = answer
	return nil
}

func (k *kernel) DeleteIgnoredAnswer(id bpf.SiteID) error { delete(k.answers, id); return nil }

func (k *kernel) IgnoredAnswers() (map[bpf.SiteID]bool, error) {
	return maps.Collect(maps.All(k.answers)), nil
}

func (k *kernel) IgnoredPackets() (map[bpf.SiteID]bpf.IgnoredPackets, error) {
	return maps.Clone(k.packets), nil
}

func (k *kernel) DeleteIgnoredPackets(id bpf.SiteID) error { delete(k.packets, id); return nil }

func (k *kernel) ignoring() (out []string) {
	for s := range k.sources {
		out = append(out, fmt.Sprintf("%d: %s", s.Site, s.Prefix))
	}
	for id, answer := range k.answers {
		out = append(out, fmt.Sprintf("%d answers: %v", id, answer))
	}
	for id, n := range k.packets {
		out = append(out, fmt.Sprintf("%d had %d", id, n.Asleep))
	}
	slices.Sort(out)
	return out
}

func ignoringKernel() *kernel {
	return &kernel{
		rules: map[bpf.Rule]bool{}, sources: map[bpf.IgnoredSource]bool{}, answers: map[bpf.SiteID]bool{},
		packets: map[bpf.SiteID]bpf.IgnoredPackets{},
	}
}

func ignores(t *testing.T, answer string, texts ...string) spec.Ignored {
	t.Helper()
	i := spec.Ignored{Answer: answer}
	for _, text := range texts {
		s, err := spec.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		i.Sources = append(i.Sources, s)
	}
	return i
}

func openIgnoring(t *testing.T, k *kernel, node spec.Ignored) *Rules {
	t.Helper()
	r, err := Open(k, spec.Network{}, node, func() []netip.Addr { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The data path has what the specs and the configuration say, also of a daemon with
// other ones before; counters go with their sites.
func TestIgnoredFollowSites(t *testing.T) {
	k := ignoringKernel()
	r := openIgnoring(t, k, ignores(t, "", "192.0.2.0/24"))
	want := func(when string, lines ...string) {
		t.Helper()
		if got := k.ignoring(); !slices.Equal(got, lines) {
			t.Errorf("%s:\n%q, want\n%q", when, got, lines)
		}
	}
	shop, blog := ignores(t, spec.IgnoredAccept, "192.0.2.7", "2001:db8::/64"), ignores(t, spec.IgnoredRefuse)
	sites := map[string]Site{"shop": {ID: 1, Ignore: &shop}, "blog": {ID: 2, Ignore: &blog}, "none": {ID: 3}}
	become(t, r, sites)
	want("three sites", "0: 192.0.2.0/24", "1 answers: true", "1: 192.0.2.7/32", "1: 2001:db8::/64", "2 answers: false")
	shop = ignores(t, "", "2001:db8::/64")
	become(t, r, sites)
	want("another spec", "0: 192.0.2.0/24", "1: 2001:db8::/64", "2 answers: false")
	k.packets[1], k.packets[3] = bpf.IgnoredPackets{Asleep: 7}, bpf.IgnoredPackets{Asleep: 9}
	delete(sites, "none")
	become(t, r, sites)
	want("a site is deleted", "0: 192.0.2.0/24", "1 had 7", "1: 2001:db8::/64", "2 answers: false")
	k.packets[4] = bpf.IgnoredPackets{Asleep: 1}         // of a site that went as its daemon died
	r = openIgnoring(t, k, ignores(t, spec.IgnoredHTTP)) // a daemon with another configuration
	delete(sites, "blog")
	become(t, r, sites)
	want("another daemon", "0 answers: true", "1 had 7", "1: 2001:db8::/64")
}

func TestIgnoredAllOrNone(t *testing.T) {
	k := ignoringKernel()
	r := openIgnoring(t, k, spec.Ignored{})
	one, two := ignores(t, "", "192.0.2.7"), ignores(t, spec.IgnoredHTTP, "192.0.2.8", "192.0.2.9")
	sites := map[string]Site{"one": {ID: 1, Ignore: &one}}
	become(t, r, sites)
	before := k.ignoring()
	k.room = 2
	sites["two"] = Site{ID: 2, Ignore: &two}
	if err := r.Become(sites); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
	if got := k.ignoring(); !slices.Equal(got, before) {
		t.Errorf("%q, want %q", got, before)
	}
}
