package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootFlightOfDatagrams: all that a client of UDP sends before it has an answer is held, in order, and a flow counts once however many that are.
func TestRootFlightOfDatagrams(t *testing.T) {
	testutil.Privileged(t)
	const most = 2
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := rigHolding(t, most)
			r.listen(t, 1, vip4, vip6)
			send := func(p packet, want string) {
				t.Helper()
				if got := r.outside(t, r.objs.FcDevice, 1, p); got[want] != 1 {
					t.Errorf("%q: %v, want %s", p.payload, got, want)
				}
			}
			for round := range 2 {
				r.limits(t, Rate{Burst: 2, Every: time.Hour}, Rate{}) // a token for each flow
				for i := range Flight {
					p := udpPacket(f.client, f.dns, fmt.Sprint("datagram ", i, strings.Repeat(".", i%2*300))) // of both sizes
					send(p, "held")
					if got, ok := r.nextHeld(t); !ok || !bytes.Equal(got.Data, p.frame()) {
						t.Errorf("datagram %d: held %q (%v)", i, got.Data, ok)
					}
				}
				send(udpPacket(f.client, f.dns, "beyond"), "hold_duplicate")
				other := udpPacket(netip.AddrPortFrom(netip.MustParseAddrPort(f.client).Addr(), uint16(40001+round)).String(), f.dns, "another's")
				for range Flight {
					send(other, "held")
				}
				send(other, "hold_duplicate")
				third := udpPacket(netip.AddrPortFrom(other.src.Addr(), other.src.Port()+10).String(), f.dns, "a third one's")
				send(third, "hold_cap")
				if l, err := r.SiteLoad(1); err != nil || l.Held != uint64(2*(round+1)) {
					t.Errorf("held of %d flows (%v), want %d: each is one that asks", l.Held, err, 2*(round+1))
				}
				if err := r.ClearHold(1); err != nil { // released, and it sleeps anew
					t.Fatal(err)
				}
				for range Flight {
					_, _ = r.nextHeld(t)
				}
				r.noHeld(t)
			}
		})
	}
}

// TestRootFlightsOfAllWhoWait: of as many clients as a site may have held all that QUIC sends first is held, while others' are, too; the next client
// has to wait.
func TestRootFlightsOfAllWhoWait(t *testing.T) {
	testutil.Privileged(t)
	const clients, datagrams = 64, 4
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := rigHolding(t, clients)
			r.listen(t, 1, vip4, vip6)
			for n := range datagrams {
				for client := range clients {
					r.device(t, "a datagram", initial(f, vipOf(f, 0), client, n), actOK, holds)
				}
			}
			r.device(t, "a client more", initial(f, vipOf(f, 0), clients, 0), actOK, counted{"hold_cap": 1})
			next := map[netip.AddrPort]int{}
			for range clients * datagrams {
				got, _ := r.nextHeld(t)
				if n := next[got.Client]; !bytes.Equal(got.Data, initial(f, vipOf(f, 0), int(got.Client.Port())-clientPort, n).frame()) {
					t.Fatalf("datagram %d of %v is another, or damaged", n, got.Client)
				}
				next[got.Client]++
			}
			r.noHeld(t)
			if err := r.objs.FcHoldCounts.Put(uint32(1), uint32(1+(Flight-1)*clients<<16)); err != nil { // as the wake goes on
				t.Fatal(err)
			}
			r.device(t, "beyond ten for each client", initial(f, vipOf(f, 0), 1, 5), actOK, counted{"hold_cap": 1})
			r.device(t, "a client more", initial(f, vipOf(f, 0), clients, 0), actOK, holds)
		})
	}
}

// TestRootFloodOfDatagramsLeavesRoom: sites whose clients send all that is held of a flow, while nobody reads, take no more of the ring than
// one quarter beside what each site is sure of. What others' clients send first is held.
func TestRootFloodOfDatagramsLeavesRoom(t *testing.T) {
	testutil.Privileged(t)
	const clients, flooded, others, visitors = 64, 4, 20, 8
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := rigHolding(t, clients)
			for i := range flooded + others {
				r.listen(t, SiteID(1+i), vipOf(f, i))
			}
			before := r.counters(t)
			for n := range 2 * Flight {
				for i := range flooded {
					for client := range clients {
						run(t, r.objs.FcDevice, initial(f, vipOf(f, i), client, n).frame(), 0)
					}
				}
			}
			record := int(unsafe.Sizeof(dpFcHeldLarge{}) + 8)
			held, want := int(r.counters(t).since(before)["held"]), (1<<20+record-1)/record
			if held != want {
				t.Errorf("%d datagrams of the floods are held, want %d", held, want)
			}
			for i := range others {
				at := vipOf(f, flooded+i)
				for visitor := range visitors {
					for n := range 2 {
						r.device(t, "another site's visitor", initial(f, at, visitor, n), actOK, holds)
					}
				}
				r.device(t, "another site's visitor by TCP", tcpPacket(f.client, netip.AddrPortFrom(at, 80).String(), syn), actOK, holds)
			}
			for range held {
				_, _ = r.nextHeld(t)
			}
			for range others {
				for range 2*visitors + 1 {
					if got, ok := r.nextHeld(t); !ok || got.Site <= flooded {
						t.Fatalf("read a packet of site %d (%v)", got.Site, ok)
					}
				}
			}
			r.noHeld(t)
			r.device(t, "of a flood, once it was read", initial(f, vipOf(f, flooded-1), clients-1, 0), actOK, holds)
		})
	}
}

// rigHolding is a rig with so many flows of a site that may be held.
func rigHolding(t *testing.T, perSite uint32) *rig {
	t.Helper()
	r := newRig(t)
	if err := r.updateSettings(func(s *dpFcSettings) { s.HoldPerSite = perSite }); err != nil {
		t.Fatal(err)
	}
	return r
}

const clientPort = 20000

// initial is datagram n of a client, as long as QUIC's first ones are at least.
func initial(f family, vip netip.Addr, client, n int) packet {
	src := netip.AddrPortFrom(netip.MustParseAddrPort(f.client).Addr(), uint16(clientPort+client))
	return udpPacket(src.String(), netip.AddrPortFrom(vip, 53).String(), fmt.Sprintf("%-1200d", n))
}

// vipOf is the address of site number i.
func vipOf(f family, i int) netip.Addr {
	a := vip4
	if f.name == "IPv6" {
		a = vip6
	}
	for range i {
		a = a.Next()
	}
	return a
}
