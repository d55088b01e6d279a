package e2e

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// rules puts the machine's own firewall into the place of what it had: a chain that forwarded packets pass. Without rules and policy there is none.
func (n *node) rules(policy nftables.ChainPolicy, rules ...[]expr.Any) {
	n.t.Helper()
	n.ns.Do(n.t, func() {
		c, err := nftables.New()
		if err != nil {
			n.t.Fatal(err)
		}
		table := &nftables.Table{Name: "own", Family: nftables.TableFamilyINet}
		c.AddTable(table) // so that there is one to be deleted
		c.DelTable(table)
		c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{
			Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy,
		})
		for _, r := range rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
		}
		if err := c.Flush(); err != nil {
			n.t.Fatal(err)
		}
	})
}

// from matches what a visitor sends, by IPv4.
func from(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{2}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

// inState matches packets by what connection tracking knows of theirs.
func inState(bits byte) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{bits, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// TestRootFirewallHolds: a packet that the machine's own firewall drops reaches no site, asleep or awake, on an open connection neither; rules that
// come later hold as well, and without a daemon those that it has seen.
func TestRootFirewallHolds(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	onEachWay(t, "", func(t *testing.T, n *node) {
		drop, accept := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictAccept}
		s, asleep := n.deploy("awake"), n.deploy("asleep")
		n.outside.greet(s.addr4(80))
		fast := n.packets("replied_uplink") > 0
		open := n.outside.keep(s.addr4(80))
		if err := open.ask(); err != nil {
			t.Fatal(err)
		}
		mark := n.mark()
		n.rules(nftables.ChainPolicyAccept, append(from(netip.MustParseAddr("198.51.100.2")), drop))
		n.await(mark, event.Firewall)
		silent := func(when string) {
			t.Helper()
			n.outside.unanswered(when+", awake", s.addr4(80))
			n.outside.unanswered(when+", asleep", asleep.addr4(80))
		}
		silent("banned")
		if err := open.conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := io.WriteString(open.conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if got, _ := open.conn.Read(make([]byte, 1)); got > 0 {
			t.Errorf("an open connection of a banned visitor is answered (%v)", err)
		}
		n.outside.greet(s.addr6(80)) // who is not banned is served
		n.kill()
		silent("without a daemon")
		n.start()
		silent("the next daemon")
		if got := asleep.starts(mark); got != 0 {
			t.Errorf("a banned visitor has woken a site: %q", asleep.story(mark))
		}

		// What keeps track of connections sees both of their directions.
		const invalid, established, related, fresh = 1, 2, 4, 8
		n.rules(nftables.ChainPolicyDrop, append(inState(invalid), drop), append(inState(established|related), accept), append(inState(fresh), accept))
		n.outside.greet(asleep.addr4(80))
		before := n.packets("replied_uplink")
		for range 3 {
			n.outside.transfer(s.addr4(80), 1<<20)
			n.outside.transfer(s.addr6(80), 1<<20)
		}
		if after := n.packets("replied_uplink"); after != before {
			t.Errorf("%d packets went past a firewall", after-before)
		}

		mark = n.mark()
		n.rules(nftables.ChainPolicyAccept)
		n.await(mark, event.Firewall)
		before = n.packets("replied_uplink")
		n.outside.greet(s.addr4(80))
		if after := n.packets("replied_uplink"); after == before && fast {
			t.Error("without rules packets go the long way")
		}
	})
}

// TestRootFirewallBypassed: the operator has said so.
func TestRootFirewallBypassed(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "nftables")
	n := newNode(t, options{more: "firewall: bypass"})
	s := n.deploy("awake")
	n.outside.greet(s.addr4(80))
	open := n.outside.keep(s.addr4(80))
	n.rules(nftables.ChainPolicyAccept, append(from(netip.MustParseAddr("198.51.100.2")), &expr.Verdict{Kind: expr.VerdictDrop}))
	if err := open.ask(); err != nil {
		t.Errorf("firewall: bypass, and an awake site is out of reach: %v", err)
	}
}
