package bpf

import (
	"net/netip"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootRanges: the ports of a range share a bit, and who comes is let in by the port that he names: held until somebody listens on just
// that, or the whole range is taken as ready.
func TestRootRanges(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	for _, c := range []struct {
		name, addr, client string
		proto              Proto
	}{
		{"TCP, IPv4", "10.77.0.2", client4, TCP},
		{"TCP, IPv6", "fd77:fc::2", client6, TCP},
		{"UDP, IPv4", "10.77.0.2", client4, UDP},
		{"UDP, IPv6", "fd77:fc::2", client6, UDP},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ns := socketRig(t, true)
			addr := netip.MustParseAddr(c.addr)
			ls := map[Listener]ListenerSite{}
			for port := uint16(5000); port <= 5003; port++ {
				ls[Listener{addr, port, c.proto}] = ListenerSite{Site: 1, PortBit: 3, Range: true}
			}
			if err := r.PutListeners(ls); err != nil {
				t.Fatal(err)
			}
			r.site(t, 1, Site{Replicas: replicas(5)})
			try := func(what string, port uint16, ret uint32, counts counted) {
				t.Helper()
				client := netip.MustParseAddrPort(c.client)
				p := packet{src: netip.AddrPortFrom(client.Addr(), 10000+port), dst: netip.AddrPortFrom(addr, port), proto: c.proto, payload: []byte("x")}
				if c.proto == TCP {
					p.flags, p.payload = syn, nil
				}
				r.device(t, what, p, ret, counts)
				if err := r.ClearHold(1); err != nil {
					t.Fatal(err)
				}
			}
			listens := func(port uint16, want bool) {
				t.Helper()
				if got, err := r.Listens(5, Listener{addr, port, c.proto}); err != nil || got != want {
					t.Errorf("port %d is listened on: %v (%v), want %v", port, got, err, want)
				}
			}
			bits := func(on bool) (ready4, ready6 uint32) {
				switch {
				case !on:
				case addr.Is4():
					ready4 = 1 << 3
				default:
					ready6 = 1 << 3
				}
				return
			}
			try("nobody listens", 5002, actOK, holds)
			first := socketSpec{udp: c.proto == UDP, at: netip.AddrPortFrom(addr, 5001)}.openFD(t, ns)
			r.wantEvent(t, EventReady)
			on4, on6 := bits(true)
			r.wantMasks(t, "one listens", on4, on6)
			listens(5001, true)
			listens(5002, false)
			try("its port", 5001, actRedirect, steered)
			try("another of the range", 5003, actOK, holds)
			second := socketSpec{udp: c.proto == UDP, at: netip.AddrPortFrom(addr, 5003)}.openFD(t, ns)
			r.wantEvent(t, EventReady) // of each, though the bit has not changed
			listens(5003, true)
			again := packet{src: netip.MustParseAddrPort(c.client), dst: netip.AddrPortFrom(addr, 5003), proto: c.proto}
			if c.proto == TCP {
				again.flags = syn
			}
			r.device(t, "it listens now", again, actRedirect, steered)
			closeFD(t, first)
			r.wantMasks(t, "the other one listens", on4, on6)
			listens(5001, false)
			closeFD(t, second)
			r.wantEvent(t, EventReady)
			r.wantMasks(t, "nobody listens any more", 0, 0)
			listens(5003, false)
			r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Forced: 1 << 3}}})
			try("the range was given up", 5000, actRedirect, steered)
			try("beside the range", 5004, actRedirect, toSink)
			if got, err := r.Listeners(); err != nil || !got[Listener{addr, 5002, c.proto}].Range {
				t.Errorf("the listeners are %v (%v)", got, err)
			}
			socketSpec{udp: c.proto == UDP, at: netip.AddrPortFrom(addr, 5001)}.open(t, ns)
			r.wantEvent(t, EventReady)
		})
	}
}
