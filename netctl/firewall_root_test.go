package netctl

import (
	"testing"
	"time"
	"unsafe"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ruleset is what one administrator writes.
type ruleset struct {
	family nftables.TableFamily
	kind   nftables.ChainType
	hook   *nftables.ChainHook
	device string // that an ingress hook is of
	drops  bool
	rules  [][]expr.Any
	others map[string][][]expr.Any // chains without a hook
}

func (r ruleset) write(t *testing.T, ns *testutil.NS) {
	t.Helper()
	ns.Do(t, func() {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		table := c.AddTable(&nftables.Table{Name: "fw", Family: r.family})
		policy := nftables.ChainPolicyAccept
		if r.drops {
			policy = nftables.ChainPolicyDrop
		}
		base := &nftables.Chain{Name: "base", Table: table, Type: r.kind, Hooknum: r.hook, Priority: nftables.ChainPriorityFilter, Policy: &policy, Device: r.device}
		if r.kind == nftables.ChainTypeNAT {
			base.Priority = nftables.ChainPriorityNATDest
		}
		c.AddChain(base)
		for name := range r.others {
			c.AddChain(&nftables.Chain{Name: name, Table: table})
		}
		for name, rules := range r.others {
			for _, e := range rules {
				c.AddRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: name, Table: table}, Exprs: e})
			}
		}
		for _, e := range r.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: base, Exprs: e})
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	})
}

func verdict(kind expr.VerdictKind, chain string) *expr.Verdict {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

// to matches packets to a prefix of IPv4, as nft writes it.
func to(bytes ...byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: uint32(len(bytes))}, equal(bytes),
	}
}

// TestRootFirewall: found is each chain that forwarded packets pass and that may drop them, and no other.
func TestRootFirewall(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	forward, input, prerouting := nftables.ChainHookForward, nftables.ChainHookInput, nftables.ChainHookPrerouting
	accept := []expr.Any{verdict(expr.VerdictAccept, "")}
	drop := []expr.Any{verdict(expr.VerdictDrop, "")}
	inet, v4 := nftables.TableFamilyINet, nftables.TableFamilyIPv4
	chain := func(family, hook string, refuses ...string) []FirewallChain {
		return []FirewallChain{{Family: family, Table: "fw", Name: "base", Hook: hook, Refuses: refuses}}
	}
	docker := chain("ip", "forward", "ip")
	docker[0].Docker = true
	for name, tt := range map[string]struct {
		ruleset
		want []FirewallChain
	}{
		"an empty chain":  {ruleset{family: inet, kind: nftables.ChainTypeFilter, hook: forward}, nil},
		"a ban":           {ruleset{family: inet, kind: nftables.ChainTypeFilter, hook: forward, rules: [][]expr.Any{drop}}, chain("inet", "forward")},
		"a ban in front":  {ruleset{family: v4, kind: nftables.ChainTypeFilter, hook: prerouting, rules: [][]expr.Any{drop}}, chain("ip", "prerouting")},
		"for the machine": {ruleset{family: inet, kind: nftables.ChainTypeFilter, hook: input, rules: [][]expr.Any{drop}}, nil},
		"a ban at a device": {ruleset{
			family: nftables.TableFamilyNetdev, kind: nftables.ChainTypeFilter, hook: nftables.ChainHookIngress, device: "lo", rules: [][]expr.Any{drop},
		}, chain("netdev", "ingress")},
		"a ban at a device, for all families": {ruleset{
			family: inet, kind: nftables.ChainTypeFilter, hook: nftables.ChainHookRef(5), device: "lo", rules: [][]expr.Any{drop},
		}, chain("inet", "ingress")},
		"rewriting":        {ruleset{family: v4, kind: nftables.ChainTypeNAT, hook: prerouting, rules: [][]expr.Any{accept}}, nil},
		"a policy":         {ruleset{family: inet, kind: nftables.ChainTypeFilter, hook: forward, drops: true}, chain("inet", "forward", "ip", "ip6")},
		"a policy of IPv4": {ruleset{family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true}, chain("ip", "forward", "ip")},
		"opened": {ruleset{
			family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true,
			rules: [][]expr.Any{append(to(10, 77), accept...)},
		}, chain("ip", "forward")},
		"another network opened": {ruleset{
			family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true,
			rules: [][]expr.Any{append(to(10, 78), accept...)},
		}, chain("ip", "forward", "ip")},
		"banned by name": {ruleset{
			family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true,
			rules: [][]expr.Any{append(to(10, 77), drop...)},
		}, chain("ip", "forward", "ip")},
		"opened in a chain of its own": {ruleset{
			family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true,
			rules:  [][]expr.Any{{verdict(expr.VerdictJump, "sites")}},
			others: map[string][][]expr.Any{"sites": {append(to(10, 77), accept...)}},
		}, chain("ip", "forward")},
		"Docker": {ruleset{
			family: v4, kind: nftables.ChainTypeFilter, hook: forward, drops: true,
			rules:  [][]expr.Any{{verdict(expr.VerdictJump, "DOCKER-USER")}},
			others: map[string][][]expr.Any{"DOCKER-USER": nil},
		}, docker},
	} {
		t.Run(name, func(t *testing.T) {
			ns := testutil.NetNS(t)
			cfg := testConfig(t)
			n := setup(t, ns, cfg, &fakeDatapath{})
			defer remove(t, n)
			tt.ruleset.write(t, ns)
			got, err := n.Firewall()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRootFirewallLegacy: tables of the older iptables count as soon as they are used.
func TestRootFirewallLegacy(t *testing.T) {
	testutil.Privileged(t)
	ns := testutil.NetNS(t)
	n := setup(t, ns, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	want := []FirewallChain{{Family: "ip-legacy", Table: "filter", Hook: "forward"}}
	ns.Do(t, func() {
		if err := useLegacy("filter"); err != nil {
			t.Logf("this kernel has no older iptables: %v", err)
			want = nil
		}
	})
	got, err := n.Firewall()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// useLegacy asks for a table, as iptables-legacy -L does: the kernel makes it then.
func useLegacy(table string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const getInfo, size = 64, 84 // IPT_SO_GET_INFO and struct ipt_getinfo
	buf := make([]byte, size)
	copy(buf, table)
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, getInfo, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// TestRootWatchFirewall: each change is told, and nothing after the end.
func TestRootWatchFirewall(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	ns := testutil.NetNS(t)
	n := setup(t, ns, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	changed := make(chan struct{}, 100)
	closing, err := n.WatchFirewall(func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	ban := ruleset{family: nftables.TableFamilyINet, kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward, rules: [][]expr.Any{{verdict(expr.VerdictDrop, "")}}}
	for range 3 {
		ban.write(t, ns)
		testutil.Receive(t, 10*time.Second, "a change", changed)
	}
	if err := closing(); err != nil {
		t.Fatal(err)
	}
}
