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

// TestRootManyPortsHurtNobodyElse: a site that listens on one port of its range after another, all that a site may have, takes its share of
// the table of open ports and no more, whatever it opens and closes: its own ports and another site's are known at once.
func TestRootManyPortsHurtNobodyElse(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	const first, ports, atOnce = 1024, 16384, 200
	share := ports/len(dpFcOpeners{}.N) + 1
	r := rigOf(t, openAt(t, Options{PinDir: pinDir(t), MaxListener: 2 * ports}))
	if err := r.AttachCgroup(ownCgroup); err != nil {
		t.Fatal(err)
	}
	addrs := map[ReplicaID]netip.Addr{5: vip4, 6: netip.MustParseAddr("10.77.0.3")}
	places := map[ReplicaID]*testutil.NS{}
	for id, addr := range addrs {
		ns := testutil.NetNS(t)
		ns.Run(t, "ip", "address", "add", addr.String()+"/32", "dev", "lo")
		places[id] = ns
		site := SiteID(id)
		if err := r.AddReplica(id, Replica{Site: site, Ifindex: 1000 + int(id), NSID: -1, Cookie: ns.Cookie(t), VIP4: addr}); err != nil {
			t.Fatal(err)
		}
		r.site(t, site, Site{Replicas: replicas(id)})
	}
	ls := map[Listener]ListenerSite{{addrs[6], 40001, TCP}: {Site: 6, PortBit: 3, Range: true}}
	for port := range uint16(ports) {
		ls[Listener{addrs[5], first + port, TCP}] = ListenerSite{Site: 5, PortBit: 3, Range: true}
	}
	if err := r.PutListeners(ls); err != nil {
		t.Fatal(err)
	}
	r.fillOpen(t, share+1) // of others
	comes := func(what string, id ReplicaID, port uint16) {
		t.Helper()
		r.device(t, what, tcpPacket(client4, netip.AddrPortFrom(addrs[id], port).String(), syn), actRedirect, steered)
	}
	before := r.counters(t)
	var open []int
	for port := range uint16(ports) {
		at := netip.AddrPortFrom(addrs[5], first+port)
		open = append(open, socketSpec{at: at}.openFD(t, places[5]))
		if len(open) > atOnce {
			closeFD(t, open[0])
			open = open[1:]
		}
	}
	for _, port := range []uint16{first + ports - atOnce, first + ports - 1} {
		comes("a visitor of the many ports", 5, port)
	}
	socketSpec{at: netip.AddrPortFrom(addrs[6], 40001)}.open(t, places[6])
	comes("a visitor of the other site", 6, 40001)
	for _, fd := range open {
		closeFD(t, fd)
	}
	socketSpec{at: netip.AddrPortFrom(addrs[5], first)}.open(t, places[5])
	comes("a visitor after all of that", 5, first)
	if l, err := r.Listens(5, Listener{addrs[5], first + ports - 1, TCP}); err != nil || l {
		t.Errorf("a port that was closed counts as open (%v)", err)
	}
	if n := r.counters(t).since(before)["map_full"]; n != 0 {
		t.Errorf("%d sockets found no room", n)
	}
	if all := r.objs.FcOpen.MaxEntries(); all < uint32(7*32*(share+64)) { // a range more has one more; see fc_open
		t.Errorf("a site can have more than a seventh of %d entries", all)
	}
}

// fillOpen fills the table of open ports, up to so many entries.
func (r *rig) fillOpen(t testing.TB, left int) {
	t.Helper()
	keys := make([]dpFcOpenKey, int(r.objs.FcOpen.MaxEntries())-left)
	for i := range keys {
		keys[i] = dpFcOpenKey{Replica: uint32(1000 + i)}
	}
	if n, err := r.objs.FcOpen.BatchUpdate(keys, make([]dpFcOpeners, len(keys)), nil); err != nil || n != len(keys) {
		t.Fatalf("%d of %d entries were made: %v", n, len(keys), err)
	}
}
