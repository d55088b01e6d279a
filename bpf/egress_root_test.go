package bpf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// beyond is what a packet meets that its site has no tokens for.
func (l *leaving) beyond(t testing.TB, what, end string, p packet) {
	t.Helper()
	l.want(t, what, l.objs.FcReplicaOut, p.frame(), l.at, actShot, counted{end: 1})
}

func (l *leaving) allow(t testing.TB, site SiteID, conns, packets uint32) {
	t.Helper()
	a := Allowance{Connections: Rate{Burst: conns, Every: time.Hour}, Packets: Rate{Burst: packets, Every: time.Hour}}
	if err := l.SetAllowance(site, a); err != nil {
		t.Fatal(err)
	}
}

// outside is the n-th address that a site begins something with.
func outside(family string, n int) string {
	if family == "IPv4" {
		return fmt.Sprintf("203.0.113.%d:443", n)
	}
	return fmt.Sprintf("[2001:db8:9::%x]:443", n)
}

// TestRootSiteFloodsNobody: a site that scans or floods the Internet is bounded, by its own rate or by a copy of
// the node's, and its visitors and whom its rules name notice nothing.
func TestRootSiteFloodsNobody(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		for owner, of := range map[string]SiteID{"its own": 1, "the node's": 0} {
			t.Run(f.name+"/"+owner, func(t *testing.T) {
				l := newLeaving(t)
				limited, err := l.Limited()
				if err != nil {
					t.Fatal(err)
				}
				defer limited.Close()
				db := netip.MustParseAddrPort(outside(f.name, 200))
				l.rule(t, Rule{Site: 1, Prefix: netip.PrefixFrom(db.Addr(), db.Addr().BitLen()), Proto: TCP, Port: 443}, true)
				src := own(outside(f.name, 1))
				l.allow(t, of, 6, 20)

				visitor, query := tcpPacket(outside(f.name, 100), f.web, syn), udpPacket(outside(f.name, 100), f.dns, "query")
				l.device(t, "visitor", visitor, actRedirect, steered)
				l.device(t, "question", query, actRedirect, steered)
				for n := range 4 {
					l.passes(t, "a scan", tcpPacket(src, outside(f.name, n), syn))
				}
				flood := udpPacket(src, outside(f.name, 50), "flood")
				l.passes(t, "a datagram", flood)
				l.passes(t, "a connection from a visitors' port", visitor.reply(syn).to(outside(f.name, 51)))
				l.beyond(t, "the scan's next", "egress_connections", tcpPacket(src, outside(f.name, 5), syn))
				l.beyond(t, "a ping", "egress_connections", ping(src, outside(f.name, 6)))
				l.beyond(t, "another datagram's flow", "egress_connections", udpPacket(src, outside(f.name, 7), "flood"))
				for range 10 {
					l.passes(t, "the flood", flood)
				}
				for range 4 {
					l.passes(t, "data to the first", tcpPacket(src, outside(f.name, 0), ack, "data"))
				}
				l.beyond(t, "more data", "egress_packets", tcpPacket(src, outside(f.name, 0), ack, "data"))
				l.beyond(t, "more of the flood", "egress_packets", flood)
				l.beyond(t, "a fragment of it", "egress_packets", flood.with(func(p *packet) { p.fragID, p.frag = 9, 10 }))

				l.passes(t, "an answer to the visitor", visitor.reply(ack, "200"))
				l.passes(t, "to the question", query.reply(0, "answer"))
				l.passes(t, "of a connection that the table has lost", tcpPacket(f.web, outside(f.name, 101), ack, "200"))
				for range 30 {
					l.passes(t, "the database that a rule names", tcpPacket(src, db.String(), syn))
					l.passes(t, "a query", tcpPacket(src, db.String(), ack, "SELECT"))
				}

				for _, want := range []Limit{LimitConnections, LimitPackets} {
					got, err := limited.Read()
					if err != nil || got.Limit != want || got.Site != 1 {
						t.Errorf("told %+v (%v), want limit %d of site 1", got, err, want)
					}
				}
				if err := l.DeleteAllowance(1); err != nil {
					t.Fatal(err)
				}
				l.allow(t, 0, 0, 0)
				for n := range 30 {
					l.passes(t, "without a limit", tcpPacket(src, outside(f.name, n%4), syn))
				}
			})
		}
	}
}
