package netctl

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

func TestEgressOf(t *testing.T) {
	for prefix, want := range map[string]Egress{
		"10.77.0.0/16": EgressMasquerade, "172.20.0.0/16": EgressMasquerade, "100.64.0.0/16": EgressMasquerade, "fd77:fc::/64": EgressMasquerade,
		"203.0.113.0/24": EgressRouted, "172.32.0.0/16": EgressRouted, "2001:db8::/64": EgressRouted,
	} {
		p := netip.MustParsePrefix(prefix)
		if got := Egress("").Of(p); got != want {
			t.Errorf("%s by default: %s, want %s", prefix, got, want)
		}
		if got := EgressNone.Of(p); got != EgressNone {
			t.Errorf("%s is %s where none was asked for", prefix, got)
		}
	}
}

// tables counts the rules of each chain of the namespace's tables, and the elements of each set.
func tables(t *testing.T, ns *testutil.NS) map[string]int {
	t.Helper()
	out := map[string]int{}
	ns.Do(t, func() {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range all {
			chains, err := c.ListChainsOfTableFamily(table.Family)
			if err != nil {
				t.Fatal(err)
			}
			for _, chain := range chains {
				if chain.Table.Name != table.Name {
					continue
				}
				rules, err := c.GetRules(table, chain)
				if err != nil {
					t.Fatal(err)
				}
				out[table.Name+" "+chain.Name] = len(rules)
			}
			sets, err := c.GetSets(table)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sets {
				elements, err := c.GetSetElements(s)
				if err != nil {
					t.Fatal(err)
				}
				out[table.Name+" "+s.Name] = len(elements)
			}
		}
	})
	return out
}

// TestRootEgressTable: the table is there as long as the node's network is, also without a daemon, follows the configuration, and comes back
// when somebody has flushed all tables; a table of somebody else is left alone.
func TestRootEgressTable(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	ns := testutil.NetNS(t)
	inTables := func(do func(c *nftables.Conn)) {
		t.Helper()
		ns.Do(t, func() {
			c, err := nftables.New()
			if err != nil {
				t.Fatal(err)
			}
			do(c)
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
		})
	}
	theirs := func(c *nftables.Conn) {
		c.AddChain(&nftables.Chain{Name: "own", Table: c.AddTable(&nftables.Table{Name: "theirs", Family: nftables.TableFamilyINet})})
	}
	inTables(theirs)
	want := func(when string, want map[string]int) {
		t.Helper()
		want["theirs own"] = 0
		if diff := cmp.Diff(want, tables(t, ns)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", when, diff)
		}
	}
	cfg := testConfig(t)
	dp := &fakeDatapath{}
	n := setup(t, ns, cfg, dp)
	dns := netip.MustParseAddrPort("10.77.0.5:53")
	if err := n.ChangeAnswers([]netip.AddrPort{dns, netip.MustParseAddrPort("[fd77:fc::5]:53")}, nil); err != nil {
		t.Fatal(err)
	}
	masqueraded := map[string]int{"fcnode-fc0 out": 6, "fcnode-fc0 refused": 0, "fcnode-fc0 answers4": 1, "fcnode-fc0 answers6": 1}
	want("by default", masqueraded)
	inTables(func(c *nftables.Conn) { c.FlushRuleset(); theirs(c) })
	testutil.WaitFor(t, 10*time.Second, "the table that was flushed to be back", func() error {
		if have := tables(t, ns); have["fcnode-fc0 out"] != 6 {
			return fmt.Errorf("there are %v", have)
		}
		return nil
	})
	more := make([]netip.AddrPort, 0, 1000)
	for port := range uint16(1000) {
		more = append(more, netip.AddrPortFrom(netip.MustParseAddr("10.77.0.6"), port+1))
	}
	if err := n.ChangeAnswers(more, nil); err != nil {
		t.Fatal(err)
	}
	masqueraded["fcnode-fc0 answers4"] = 1001
	want("after a flush of everything", masqueraded)
	if err := n.ChangeAnswers(nil, append(more, dns)); err != nil {
		t.Fatal(err)
	}
	masqueraded["fcnode-fc0 answers4"] = 0
	want("without IPv4's ports", masqueraded)
	closeNet(t, n)
	want("without a daemon", masqueraded)

	broken := cfg
	broken.Uplinks = []string{"lo"} // attached to after the table is written
	if _, err := trySetup(t, ns, broken, &fakeDatapath{fail: "AttachUplink"}); err == nil {
		t.Fatal("a daemon that cannot start started")
	}
	want("after a daemon that could not start", masqueraded)

	cfg.Egress = EgressNone
	n = setup(t, ns, cfg, dp)
	want("the next daemon refuses", map[string]int{"fcnode-fc0 out": 0, "fcnode-fc0 refused": 6, "fcnode-fc0 answers4": 0, "fcnode-fc0 answers6": 1})
	closeNet(t, n)
	cfg.Egress = EgressRouted
	n = setup(t, ns, cfg, dp)
	want("the next one routes", map[string]int{})
	closeNet(t, n)
	cfg.Egress = ""
	n = setup(t, ns, cfg, dp)
	remove(t, n)
	want("nothing is left", map[string]int{})
}

// TestRootEgressTriesAgain: a table that cannot be put back at first, as what does so panics, is tried again without anybody's message.
func TestRootEgressTriesAgain(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	ns := testutil.NetNS(t)
	n := setup(t, ns, testConfig(t), &fakeDatapath{})
	defer remove(t, n)
	_ = n.unguardEgress() // this test does it
	ns.Do(t, func() {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		c.FlushRuleset()
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	tries := 0
	n.cfg.Guard = func(f func() error) error {
		if tries++; tries < 3 {
			return catching(func() error { panic("no") })
		}
		return catching(f)
	}
	deleted, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		n.keepEgress(deleted, time.Millisecond)
	}()
	deleted <- struct{}{}
	testutil.WaitFor(t, 10*time.Second, "the table to be back", func() error {
		if have := tables(t, ns); have["fcnode-fc0 out"] != 6 {
			return fmt.Errorf("there are %v", have)
		}
		return nil
	})
	close(deleted)
	<-done
	if tries != 3 {
		t.Errorf("%d tries, want 3", tries)
	}
}
