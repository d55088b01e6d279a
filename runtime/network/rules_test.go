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

type kernel struct {
	rules map[bpf.Rule]bool
	room  int // 0: for all
	reset []netip.Addr
	walks int // over the flows

	sources map[bpf.IgnoredSource]bool
	answers map[bpf.SiteID]bool
	packets map[bpf.SiteID]bpf.IgnoredPackets

	allowances map[bpf.SiteID]bpf.Allowance
	sends      bpf.SiteID // a site that sends something as soon as they were listed; 0: none
}

var errFull = errors.New("full")

func (k *kernel) SetRule(r bpf.Rule, allow bool) error {
	if _, there := k.rules[r]; !there && k.room > 0 && len(k.rules) >= k.room {
		return errFull
	}
	k.rules[r] = allow
	return nil
}

func (k *kernel) DeleteRule(r bpf.Rule) error       { delete(k.rules, r); return nil }
func (k *kernel) Rules() (map[bpf.Rule]bool, error) { return maps.Clone(k.rules), nil }
func (k *kernel) ResetRefusals(...bpf.SiteID) error { return nil }

func (k *kernel) ResetFlows(a ...netip.Addr) error {
	k.reset, k.walks = append(k.reset, a...), k.walks+1
	return nil
}

func (k *kernel) texts() (out []string) {
	for r, allow := range k.rules {
		out = append(out, fmt.Sprintf("%d: %d %s %s/%d %v", r.Site, r.Target, r.Prefix, r.Proto, r.Port, allow))
	}
	slices.Sort(out)
	return out
}

func peers(t *testing.T, texts ...string) (out []spec.Peer) {
	t.Helper()
	for _, text := range texts {
		p, err := spec.ParsePeer(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func open(t *testing.T, k *kernel, node spec.Network) *Rules {
	t.Helper()
	r, err := Open(k, node, spec.Ignored{}, func() []netip.Addr { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func become(t *testing.T, r *Rules, sites map[string]Site) {
	t.Helper()
	if err := r.Become(sites); err != nil {
		t.Fatal(err)
	}
}

func TestRulesFollowSites(t *testing.T) {
	k := &kernel{rules: map[bpf.Rule]bool{}}
	r := open(t, k, spec.Network{Deny: peers(t, "internet")})
	r.resolvers = func() []netip.Addr { return addrs("192.168.0.1") }
	shop := Site{ID: 1, Addrs: addrs("10.77.0.1"), Network: &spec.Network{Allow: peers(t, "site:db:5432/tcp", "10.1.0.0/16", "host:443/tcp")}}
	sites := map[string]Site{"shop": shop}
	want := func(when string, lines ...string) {
		t.Helper()
		if got := k.texts(); !slices.Equal(got, lines) {
			t.Errorf("%s:\n%q, want\n%q", when, got, lines)
		}
	}
	dns := []string{"0: 0 192.168.0.1/32 tcp/53 true", "0: 0 192.168.0.1/32 udp/53 true", "0: 1 invalid Prefix proto-0/0 false"}
	become(t, r, sites)
	own := []string{"1: 0 10.1.0.0/16 proto-0/0 true"}
	host := "1: 2 invalid Prefix tcp/443 true"
	want("no db yet", slices.Concat(dns, own, []string{host})...)
	k.reset = nil
	sites["db"] = Site{ID: 2, Addrs: addrs("10.77.0.2", "fd77::2")}
	become(t, r, sites)
	want("db has come", slices.Concat(dns, own, []string{"1: 0 10.77.0.2/32 tcp/5432 true", "1: 0 fd77::2/128 tcp/5432 true", host})...)
	if !slices.Equal(k.reset, shop.Addrs) {
		t.Errorf("flows of %v are looked at anew, want those of %v", k.reset, shop.Addrs)
	}
	sites["db"] = Site{ID: 3, Addrs: addrs("10.77.0.9")}
	become(t, r, sites)
	want("another db", slices.Concat(dns, own, []string{"1: 0 10.77.0.9/32 tcp/5432 true", host})...)
	next := open(t, k, spec.Network{}) // a daemon with another configuration
	delete(sites, "shop")
	become(t, next, sites)
	want("nothing is left")
}

// The daemon before may have died after a rule was set and before what had begun
// under the old one was looked at.
func TestFlowsAreLookedAtAnewAtTheStart(t *testing.T) {
	k := &kernel{rules: map[bpf.Rule]bool{}}
	sites := map[string]Site{
		"shop": {ID: 1, Addrs: addrs("10.77.0.1"), Network: &spec.Network{Deny: peers(t, "203.0.113.0/24")}},
		"blog": {ID: 2, Addrs: addrs("10.77.0.2")},
	}
	become(t, open(t, k, spec.Network{}), sites)
	k.reset, k.walks = nil, 0
	r := open(t, k, spec.Network{})
	become(t, r, sites)
	if slices.SortFunc(k.reset, netip.Addr.Compare); k.walks != 1 || !slices.Equal(k.reset, addrs("10.77.0.1", "10.77.0.2")) {
		t.Errorf("the next daemon has looked at the flows of %v, in %d walks", k.reset, k.walks)
	}
	k.reset, k.walks = nil, 0
	become(t, r, sites)
	if k.walks != 0 {
		t.Errorf("nothing has changed, and the flows of %v are looked at", k.reset)
	}
}

func TestRulesAllOrNone(t *testing.T) {
	k := &kernel{rules: map[bpf.Rule]bool{}}
	r := open(t, k, spec.Network{})
	one := Site{ID: 1, Network: &spec.Network{Allow: peers(t, "10.1.0.1")}}
	become(t, r, map[string]Site{"one": one})
	before := k.texts()
	k.room = 3
	two := Site{ID: 2, Network: &spec.Network{Allow: peers(t, "10.1.0.2", "10.1.0.3"), Deny: peers(t, "10.1.0.4")}}
	if err := r.Become(map[string]Site{"one": one, "two": two}); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
	if got := k.texts(); !slices.Equal(got, before) {
		t.Errorf("%q, want %q", got, before)
	}
}

func TestTellings(t *testing.T) {
	r := open(t, &kernel{rules: map[bpf.Rule]bool{}}, spec.Network{})
	owner := func(a netip.Addr) string {
		return map[string]string{"10.77.0.2": "db"}[a.String()]
	}
	for to, c := range map[string]struct {
		why   bpf.Why
		allow string
	}{
		"10.1.0.5:3306": {bpf.ByPrivate, "10.1.0.5:3306/tcp"}, "[fd00::5]:3306": {bpf.ByPrivate, "[fd00::5]:3306/tcp"}, "10.77.0.2:80": {bpf.BySite, "site:db:80/tcp"},
		"10.77.0.3:80": {bpf.BySite, "10.77.0.3:80/tcp"}, "192.0.2.1:22": {bpf.ByHost, "host:22/tcp"}, "192.0.2.1:25": {bpf.BySMTP, "192.0.2.1:25/tcp"},
		"192.0.2.1:26": {bpf.ByRule, ""}, "224.0.0.1:1": {bpf.ByNever, ""},
	} {
		f := bpf.Refusal{Site: 1, Replica: 4, Time: 9, To: netip.MustParseAddrPort(to), Proto: bpf.TCP, Why: c.why}
		got, first := r.Tell(f, owner)
		if !first || got.Allow != c.allow || got.Reason == "" {
			t.Errorf("%s: %+v (%v), want %q", to, got, first, c.allow)
		}
		if c.allow != "" {
			peers(t, c.allow) // can be written into a spec
		}
		f.Replica, f.Time = 5, 10
		if got, again := r.Tell(f, owner); again {
			t.Errorf("%s: told again: %+v", to, got)
		}
	}
	told := 0
	for port := range uint16(1000) {
		if got, first := r.Tell(bpf.Refusal{Site: 2, To: netip.AddrPortFrom(addrs("10.0.0.1")[0], port+1), Proto: bpf.TCP, Why: bpf.ByPrivate}, owner); first {
			told++
			if got.Last != (told == mostTold) {
				t.Errorf("refusal %d: last %v", told, got.Last)
			}
		}
	}
	if told != mostTold {
		t.Errorf("%d of a scan were told, want %d", told, mostTold)
	}
}
