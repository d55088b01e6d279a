package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

const (
	client4, web4, tls4, dns4 = "192.0.2.1:40000", "10.77.0.2:80", "10.77.0.2:443", "10.77.0.2:53"
	client6, web6, dns6       = "[2001:db8::1]:40000", "[fd77:fc::2]:80", "[fd77:fc::2]:53"
)

type family struct{ name, client, web, dns string }

var families = []family{
	{"IPv4", client4, web4, dns4},
	{"IPv6", client6, web6, dns6},
}

func TestRootUnknownIsSentToTheSink(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	for what, p := range map[string]packet{
		"unknown address":          tcpPacket(client4, "10.77.0.3:80", syn),
		"unknown port":             tcpPacket(client4, "10.77.0.2:81", syn),
		"port of another protocol": udpPacket(client4, web4),
		"unknown IPv6 address":     tcpPacket(client6, "[fd77:fc::3]:80", syn),
		"unknown datagram":         udpPacket(client6, "[fd77:fc::2]:54"),
		"protocol without ports":   {src: netip.MustParseAddrPort(client4), dst: netip.MustParseAddrPort(web4), proto: 132, payload: make([]byte, 20)},
		"echo request":             {src: netip.MustParseAddrPort(client4), dst: netip.MustParseAddrPort(web4), proto: protoICMP, icmp: 8},
		"echo request, IPv6":       {src: netip.MustParseAddrPort(client6), dst: netip.MustParseAddrPort(web6), proto: protoICMPv6, icmp: 128},
	} {
		r.device(t, what, p, actRedirect, toSink)
	}
	r.noHeld(t)
	if err := r.SetSink(0); err != nil {
		t.Fatal(err)
	}
	r.device(t, "no sink yet", tcpPacket(client4, "10.77.0.3:80", syn), actOK, toSink)
}

func TestRootFirstPacketOfAParkedSiteIsHeld(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		for name, p := range map[string]packet{
			"SYN": tcpPacket(f.client, f.web, syn), "SYN with ECN": tcpPacket(f.client, f.web, syn|1<<6|1<<7),
			"SYN with data": tcpPacket(f.client, f.web, syn, "early"), "datagram": udpPacket(f.client, f.dns, "query"),
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 7, vip4, vip6)
				p.seq = 0xfedcba98
				before := Now()
				r.device(t, name, p, actOK, holds)
				got, ok := r.nextHeld(t)
				if !ok {
					t.Fatal("nothing in the ring")
				}
				if !bytes.Equal(got.Data, p.frame()) {
					t.Errorf("held % x, want % x", got.Data, p.frame())
				}
				if got.Site != 7 || got.Client != p.src || got.VIP != p.dst || got.Proto != p.proto {
					t.Errorf("got %+v", got)
				}
				if p.proto == TCP && got.Seq != p.seq {
					t.Errorf("sequence number %#x, want %#x", got.Seq, p.seq)
				}
				if got.Time < before || got.Time > Now() {
					t.Errorf("at %d, want after %d", got.Time, before)
				}
				if p.proto == TCP {
					r.device(t, "repeated", p, actOK, counted{"hold_duplicate": 1})
					r.noHeld(t)
					p.seq++
					r.device(t, "the port used again", p, actOK, holds)
				}
			})
		}
	}
}

func TestRootHeldWholeUpToTheLimit(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	for i, size := range []int{42, 255, 256, 257, 258, 511, 512, 513, 1514, 2047, 2048} {
		site := SiteID(i + 1)
		vip := netip.AddrFrom4([4]byte{10, 77, 1, byte(i)})
		r.listen(t, site, vip)
		p := udpPacket(client4, netip.AddrPortFrom(vip, 53).String(), strings.Repeat(string([]byte{byte(i), 0xaa}), 1024)[:size-42])
		r.device(t, fmt.Sprintf("%d bytes", size), p, actOK, holds)
		if got, ok := r.nextHeld(t); !ok || !bytes.Equal(got.Data, p.frame()) || len(got.Data) != size {
			t.Errorf("%d bytes: held %d, or other ones", size, len(got.Data))
		}
	}
	r.listen(t, 99, vip4)
	r.device(t, "2049 bytes", udpPacket(client4, dns4, strings.Repeat("x", 2049-42)), actOK, counted{"hold_too_large": 1})
	r.noHeld(t)
}

func TestRootCapPerSite(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.listen(t, 2, vip6)
	from := func(port int) packet { return tcpPacket(fmt.Sprintf("192.0.2.1:%d", port), web4, syn) }
	for i := range testCap {
		r.device(t, "within the cap", from(i+1), actOK, holds)
	}
	for i := range 3 {
		r.device(t, "beyond the cap", from(100+i), actOK, counted{"hold_cap": 1})
	}
	r.device(t, "repeated within the cap", from(1), actOK, counted{"hold_duplicate": 1})
	r.device(t, "another site", tcpPacket(client6, web6, syn), actOK, holds)
	if err := r.ClearHold(1); err != nil {
		t.Fatal(err)
	}
	r.device(t, "after a release", from(200), actOK, holds)
	for i := range testCap {
		r.device(t, "until the cap again", from(300+i), actOK, map[bool]counted{true: holds, false: {"hold_cap": 1}}[i < testCap-1])
	}
	if err := r.ClearHolds(); err != nil {
		t.Fatal(err)
	}
	r.device(t, "after all were cleared", from(400), actOK, holds)
	if err := r.ClearHold(77); err != nil {
		t.Errorf("clearing a site that holds nothing: %v", err)
	}
}

func TestRootOnlyFirstPacketsWake(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	for _, f := range families {
		for _, flags := range []tcpFlags{ack, ack | psh, syn | ack, rst, rst | ack, fin | ack, syn | fin, syn | rst, 0} {
			r.device(t, fmt.Sprintf("%s flags %#x", f.name, flags), tcpPacket(f.client, f.web, flags, "data"), actRedirect, toSink)
		}
	}
	r.noHeld(t)
}

func TestRootRefuse(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.site(t, 1, Site{Refuse: true})
	for _, f := range families {
		r.device(t, "SYN", tcpPacket(f.client, f.web, syn), actRedirect, toSink)
		r.device(t, "datagram", udpPacket(f.client, f.dns), actRedirect, toSink)
	}
	r.noHeld(t)
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	r.device(t, "parked again", tcpPacket(client4, web4, syn), actOK, holds)
}

func TestRootReadyReplicaGetsThePackets(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		for name, p := range map[string]packet{"TCP": tcpPacket(f.client, f.web, syn), "UDP": udpPacket(f.client, f.dns)} {
			t.Run(f.name+" "+name, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 1, vip4, vip6)
				r.replica(t, 5, 1, 0, 0)
				r.site(t, 1, Site{Replicas: replicas(5)})
				r.device(t, "before it listens", p, actOK, holds)
				bit := map[Proto]uint32{TCP: 1, UDP: 4}[p.proto]
				r.change(t, 5, func(v *dpFcReplica) { v.Ready4, v.Ready6 = ^bit, ^bit })
				r.device(t, "while only others are listened on", p.with(func(p *packet) { p.seq++ }), actOK,
					holds)
				r.change(t, 5, func(v *dpFcReplica) {
					if v.Ready4, v.Ready6 = bit, 0; p.dst.Addr().Is6() {
						v.Ready4, v.Ready6 = 0, bit
					}
				})
				r.device(t, "when it listens", p, actRedirect, steered)
				if id, uplink := r.flowOf(t, p); id != 5 || uplink != 0 {
					t.Errorf("the flow is remembered as replica %d, uplink %d", id, uplink)
				}
				if st, err := r.Stats(5); err != nil || st.Last == 0 {
					t.Errorf("arrival was not noted: %+v, %v", st, err)
				}
				p.flags = ack
				r.device(t, "the next packet", p, actRedirect, steered)
			})
		}
	}
}

// A replica that is closed gets no new flow, whoever listens and whatever is
// forced, at the device and at an uplink; its connections are not in doubt.
func TestRootClosedReplicaGetsNoNewFlows(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			if err := r.AddReplica(5, Replica{Site: 1, Ifindex: 1005, NSID: -1, Cookie: 5 << 40, VIP4: vip4, VIP6: vip6, Closed: true}); err != nil {
				t.Fatal(err)
			}
			r.change(t, 5, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
			r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Forced: 7}}})
			first := tcpPacket(f.client, f.web, syn)
			r.device(t, "SYN", first, actOK, holds)
			r.device(t, "datagram", udpPacket(f.client, f.dns), actOK, holds)
			r.want(t, "SYN at the uplink", r.objs.FcUplink, first.frame(), 0, actUnspec, nil)
			if st, err := r.Stats(5); err != nil || !st.Closed {
				t.Errorf("closed: %v (%v)", st.Closed, err)
			}
			all, err := r.Replicas()
			if err != nil || !all[5].Closed {
				t.Errorf("the next daemon finds %+v (%v)", all[5], err)
			}
			r.replica(t, 6, 1, 7, 7)
			r.site(t, 1, Site{Replicas: replicas(5, 6)})
			for range 20 {
				first.seq++
				r.device(t, "SYN, with another replica", first, actRedirect, steered)
				if id, _ := r.flowOf(t, first); id != 6 {
					t.Fatalf("it went to %d", id)
				}
			}
			r.site(t, 1, Site{Replicas: replicas(5)})
			if err := r.OpenReplica(5); err != nil {
				t.Fatal(err)
			}
			r.device(t, "SYN, when it is open", first, actRedirect, steered)
			if st, err := r.Stats(5); err != nil || st.Closed {
				t.Errorf("closed: %v (%v)", st.Closed, err)
			}
		})
	}
	r := newRig(t)
	if err := r.OpenReplica(5); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("one that is gone: %v", err)
	}
}

// A dual-stack site whose server listens on one family holds the other's.
func TestRootReadinessIsPerFamily(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.replica(t, 5, 1, 1, 0)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "IPv4", tcpPacket(client4, web4, syn), actRedirect, steered)
	r.device(t, "IPv6", tcpPacket(client6, web6, syn), actOK, holds)
	r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Forced: 1}}})
	r.device(t, "IPv6, forced", tcpPacket("[2001:db8::1]:40001", web6, syn), actRedirect, steered)
	r.device(t, "another port is not forced", tcpPacket(client4, tls4, syn), actOK, holds)
}

// Connections stay with their replica while it drains, and while the site is
// being parked; new ones do not.
func TestRootConnectionsStay(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.replica(t, 5, 1, 7, 7)
	r.replica(t, 6, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	first := tcpPacket(client4, web4, syn)
	data := tcpPacket(client4, web4, ack, "data")
	r.device(t, "first", first, actRedirect, steered)

	r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Draining: true}, {ID: 6}}})
	r.device(t, "data while it drains", data, actRedirect, steered)
	if id, _ := r.flowOf(t, data); id != 5 {
		t.Errorf("the flow went to %d", id)
	}
	for port := range 50 {
		p := tcpPacket(fmt.Sprintf("192.0.2.1:%d", 1000+port), web4, syn)
		if ret := run(t, r.objs.FcDevice, p.frame(), 0); ret != actRedirect { // by chance two of them may want the same cell
			t.Fatalf("a new flow: returned %d", int32(ret))
		}
		if id, _ := r.flowOf(t, p); id != 6 {
			t.Fatalf("a new flow went to %d, which is draining", id)
		}
	}
	r.device(t, "the same client port used again", first, actRedirect, steered)
	if id, _ := r.flowOf(t, first); id != 6 {
		t.Errorf("a reused port revived the flow of replica %d", id)
	}

	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	r.device(t, "data while the site is parked", data, actRedirect, steered)
	r.device(t, "SYN while the site is parked", first, actOK, holds)
	if err := r.RemoveReplica(6, Replica{Ifindex: 1006, Cookie: 6 << 40}); err != nil {
		t.Fatal(err)
	}
	r.device(t, "data for a replica that is gone", data, actRedirect, toSink)
}

// The VIP of a deleted site was given to another: its flows are nobody's.
func TestRootVIPChangesHands(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "first", tcpPacket(client4, web4, syn), actRedirect, steered)
	r.listen(t, 2, vip4)
	r.device(t, "data of a flow of the old site", tcpPacket(client4, web4, ack), actRedirect, toSink)
	r.device(t, "SYN", tcpPacket(client4, web4, syn), actOK, holds)
	if p, ok := r.nextHeld(t); !ok || p.Site != 2 {
		t.Errorf("held for site %d, want 2", p.Site)
	}
}

// Answers to what a replica began by itself have a flow and no listener.
func TestRootReplicasOwnConnections(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	lo, veth := deviceOf(t)
	_ = lo
	if err := r.AddReplica(5, Replica{Site: 1, Ifindex: veth, NSID: -1, Cookie: 5, VIP4: vip4, VIP6: vip6}); err != nil {
		t.Fatal(err)
	}
	out := tcpPacket("10.77.0.2:51000", "192.0.2.9:443", syn)
	r.want(t, "it connects", r.objs.FcReplicaOut, out.frame(), veth, actRedirect, counted{"replied_stack": 1})
	r.device(t, "the answer", out.reply(syn|ack), actRedirect, steered)
	r.device(t, "a SYN to that port is no answer", out.reply(syn), actRedirect, toSink)
	r.device(t, "from another", tcpPacket("192.0.2.8:443", "10.77.0.2:51000", ack), actRedirect, toSink)
	if ev, any := r.nextEvent(t); any {
		t.Errorf("its own connection was taken for an answer: %+v", ev)
	}
}

func TestRootFragments(t *testing.T) {
	testutil.Privileged(t)
	const more = 0x2000
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			fragment := func(id uint32, field uint16) packet {
				return udpPacket(f.client, f.dns, strings.Repeat("x", 64)).with(func(p *packet) { p.fragID, p.frag = id, field })
			}
			r.device(t, "first fragment, parked", fragment(1, more), actOK, counted{"hold_too_large": 1})
			r.device(t, "later fragment, parked", fragment(1, 9), actOK, counted{})
			r.replica(t, 5, 1, 7, 7)
			r.site(t, 1, Site{Replicas: replicas(5)})
			r.device(t, "later fragment that nobody knows", fragment(2, 9), actOK, counted{})
			r.device(t, "first fragment", fragment(2, more), actRedirect, steered)
			r.device(t, "middle fragment", fragment(2, more|9), actRedirect, steered)
			r.device(t, "last fragment", fragment(2, 17), actRedirect, steered)
			r.device(t, "last fragment of another", fragment(3, 17), actOK, counted{})
			r.noHeld(t)
		})
	}
	// an "atomic" fragment (RFC 6946) is a whole packet
	r := newRig(t)
	r.listen(t, 1, vip6)
	r.device(t, "atomic fragment", udpPacket(client6, dns6).with(func(p *packet) { p.fragID = 7 }), actOK, holds)
}

func TestRootICMPErrorsFollowTheirFlow(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			kinds := []byte{3, 11, 12}
			if f.name == "IPv6" {
				kinds = []byte{1, 2, 3, 4}
			}
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			r.replica(t, 5, 1, 7, 7)
			r.site(t, 1, Site{Replicas: replicas(5)})
			router := map[string]string{"IPv4": "198.51.100.1", "IPv6": "2001:db8:9::1"}[f.name]
			for _, in := range []packet{tcpPacket(f.client, f.web, syn), udpPacket(f.client, f.dns)} {
				answer := in.reply(ack, "a long answer")
				r.site(t, 1, Site{Replicas: replicas(5, 6)})
				for _, kind := range kinds {
					r.device(t, "about a flow that nobody knows", icmpError(router, answer, kind), actOK, counted{})
				}
				r.site(t, 1, Site{Replicas: replicas(5)})
				r.device(t, "first", in, actRedirect, steered)
				for _, kind := range kinds {
					r.device(t, fmt.Sprintf("type %d", kind), icmpError(router, answer, kind), actRedirect, steered)
				}
			}
			short := icmpError(router, tcpPacket(f.client, f.web, syn).reply(ack), kinds[0])
			short.payload = short.payload[:12]
			r.device(t, "about half a header", short, actOK, counted{})
		})
	}
}

func TestRootHeadersOnTheWay(t *testing.T) {
	testutil.Privileged(t)
	ext := func(kinds ...byte) (out []byte) { // each names the next; the last TCP
		for i := range kinds {
			next := byte(TCP)
			if i+1 < len(kinds) {
				next = kinds[i+1]
			}
			size := byte(0)
			out = append(out, next, size, 1, 4, 0, 0, 0, 0)
		}
		return out
	}
	const hopByHop, routing, auth, destination, esp = 0, 43, 51, 60, 50
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	site := SiteID(1)
	for _, c := range []struct {
		name   string
		p      packet
		counts counted
		ret    uint32
	}{
		{"IPv4 options", tcpPacket("192.0.2.1:1", web4, syn).with(func(p *packet) { p.options = make([]byte, 8) }), holds, actOK},
		{"all IPv4 options", tcpPacket("192.0.2.1:2", web4, syn).with(func(p *packet) { p.options = make([]byte, 40) }), holds, actOK},
		{"one extension header", tcpPacket("[2001:db8::1]:3", web6, syn).with(func(p *packet) { p.ext, p.extKind = ext(hopByHop), hopByHop }), holds, actOK},
		{"several", tcpPacket("[2001:db8::1]:4", web6, syn).with(func(p *packet) {
			p.ext, p.extKind = ext(hopByHop, destination, routing, auth, destination), hopByHop
		}), holds, actOK},
		{"too many", tcpPacket("[2001:db8::1]:5", web6, syn).with(func(p *packet) {
			p.ext, p.extKind = ext(bytes.Repeat([]byte{destination}, 8)...), destination
		}), counted{"malformed": 1}, actOK},
		{"one that hides the ports", tcpPacket("[2001:db8::1]:6", web6, syn).with(func(p *packet) { p.ext, p.extKind = ext(esp), esp }), toSink, actRedirect},
	} {
		r.device(t, c.name, c.p, c.ret, c.counts)
		if c.counts["held"] == 0 {
			continue
		}
		if got, ok := r.nextHeld(t); !ok || got.Client != c.p.src || got.VIP != c.p.dst || !bytes.Equal(got.Data, c.p.frame()) {
			t.Errorf("%s: held %+v", c.name, got)
		}
		if err := r.ClearHold(site); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRootNotIP(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	for what, kind := range map[string]uint16{"ARP": 0x0806, "VLAN": 0x8100, "length": 0x0100} {
		frame := tcpPacket(client4, web4, syn).frame()
		frame[12], frame[13] = byte(kind>>8), byte(kind)
		r.want(t, what, r.objs.FcDevice, frame, 0, actOK, counted{})
		r.want(t, what+" at an uplink", r.objs.FcUplink, frame, 0, actUnspec, counted{})
		r.want(t, what+" from a replica", r.objs.FcReplicaOut, frame, 0, actShot, counted{})
	}
}

// The programs are given every beginning of a packet, and noise: they return
// what they may, and hold nothing that is not whole.
func TestRootMalformedPackets(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.replica(t, 5, 1, 7, 7)
	_, veth := deviceOf(t)
	if err := r.objs.FcVeths.Put(uint32(veth), uint32(5)); err != nil {
		t.Fatal(err)
	}
	feed := func(frame []byte) {
		t.Helper()
		for _, p := range []struct {
			prog  *ebpf.Program
			at    int
			rets  []uint32
			holds bool
		}{
			{r.objs.FcDevice, 0, []uint32{actOK, actRedirect}, true},
			{r.objs.FcUplink, 0, []uint32{actUnspec, actRedirect}, false},
			{r.objs.FcReplicaOut, veth, []uint32{actShot, actRedirect}, false},
		} {
			ret, err := runRaw(p.prog, frame, p.at)
			if errors.Is(err, unix.EINVAL) && len(frame) < 14+40 {
				continue // the kernel makes no such packet
			}
			if err != nil {
				t.Fatalf("%d bytes: %v", len(frame), err)
			}
			ok := false
			for _, may := range p.rets {
				ok = ok || may == ret
			}
			if !ok {
				t.Errorf("%v returned %d for % x", p.prog, int32(ret), frame)
			}
			if held, any := r.nextHeld(t); any {
				if !p.holds || !bytes.Equal(held.Data, frame) {
					t.Errorf("%v held %+v for % x", p.prog, held, frame)
				}
				if err := r.ClearHolds(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	whole := []packet{
		tcpPacket(client4, web4, syn), tcpPacket(client6, web6, syn), udpPacket(client4, dns4, "123"), udpPacket(client6, dns6, "1"),
		tcpPacket(client4, web4, syn).with(func(p *packet) { p.options = make([]byte, 40) }),
		tcpPacket(client6, web6, syn).with(func(p *packet) { p.ext, p.extKind = []byte{6, 0, 1, 4, 0, 0, 0, 0}, 0 }),
		icmpError("198.51.100.1", tcpPacket(web4, client4, ack), 3), icmpError("2001:db8:9::1", tcpPacket(web6, client6, ack), 1),
		tcpPacket(web4, client4, ack, "answer"), tcpPacket(web6, client6, ack, "answer"),
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range whole {
		frame := p.frame()
		for n := 14; n <= len(frame); n++ {
			feed(frame[:n:n])
		}
		for range 200 {
			noisy := bytes.Clone(frame)
			for range 1 + rng.IntN(6) {
				noisy[12+rng.IntN(len(noisy)-12)] = byte(rng.Uint32())
			}
			feed(noisy)
		}
	}
	for _, ihl := range []byte{0, 1, 4} {
		frame := tcpPacket(client4, web4, syn).frame()
		frame[14] = 0x40 | ihl
		r.want(t, "header too short", r.objs.FcDevice, frame, 0, actOK, counted{"malformed": 1})
	}
}

// The less loaded of two gets more, and nobody nothing.
func TestRootFlowsAreSpread(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	const n, flows = 4, 800
	var ids []ReplicaID
	for id := ReplicaID(1); id <= n; id++ {
		r.replica(t, id, 1, 7, 7)
		ids = append(ids, id)
	}
	r.change(t, 1, func(v *dpFcReplica) { v.ConnsNow = 100 })
	r.site(t, 1, Site{Replicas: replicas(ids...)})
	got := map[ReplicaID]int{}
	for port := range flows {
		p := tcpPacket(fmt.Sprintf("192.0.2.1:%d", 1000+port), web4, syn)
		if ret := run(t, r.objs.FcDevice, p.frame(), 0); ret != actRedirect {
			t.Fatalf("flow %d: %d", port, ret)
		}
		id, _ := r.flowOf(t, p)
		got[id]++
	}
	// The busy one is chosen only if both choices fall on it: 1 of 16, 50 of
	// 800. The others get 5 of 16, 250. Bounds are six standard deviations off.
	if got[1] > 50+6*7 || got[1] == 0 {
		t.Errorf("the busy replica got %d of %d flows: %v", got[1], flows, got)
	}
	for id := ReplicaID(2); id <= n; id++ {
		if got[id] < 250-6*13 || got[id] > 250+6*13 {
			t.Errorf("replica %d got %d of %d flows: %v", id, got[id], flows, got)
		}
	}
}

// A flood of packets for other sites fills the ring. What could not be held
// must not count as held: nobody would ever clear it, and the site would never
// wake.
func TestRootFullRingEatsNoCap(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip6)
	for i := range 4 << 20 / 2048 { // more than there is room for, a site each
		vip := netip.AddrFrom4([4]byte{10, 78, byte(i >> 8), byte(i)})
		if err := r.PutListeners(map[Listener]ListenerSite{{vip, 53, UDP}: {Site: SiteID(100 + i), PortBit: 2}}); err != nil {
			t.Fatal(err)
		}
		run(t, r.objs.FcDevice, udpPacket(client4, netip.AddrPortFrom(vip, 53).String(), strings.Repeat("x", 2000)).frame(), 0)
	}
	from := func(port int) packet { return tcpPacket(fmt.Sprintf("[2001:db8::1]:%d", port), web6, syn) }
	for i := range 8 { // what is left has no room for a small one either
		vip := netip.AddrFrom4([4]byte{10, 78, 255, byte(i)})
		if err := r.PutListeners(map[Listener]ListenerSite{{vip, 53, UDP}: {Site: SiteID(5000 + i), PortBit: 2}}); err != nil {
			t.Fatal(err)
		}
		run(t, r.objs.FcDevice, udpPacket(client4, netip.AddrPortFrom(vip, 53).String()).frame(), 0)
	}
	for i := range 2 * testCap {
		r.device(t, "full", from(1+i), actOK, counted{"hold_ring_full": 1})
	}
	for {
		if _, any := r.nextHeld(t); !any {
			break
		}
	}
	r.device(t, "with room again", from(100), actOK, holds)
}

// A datagram of a known client does not go to a replica on its way out: unlike
// a connection it can go to the next one, or wake it.
func TestRootDatagramsLeaveWithTheirReplica(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		r := newRig(t)
		r.listen(t, 1, vip4, vip6)
		r.replica(t, 5, 1, 7, 7)
		r.replica(t, 6, 1, 7, 7)
		r.site(t, 1, Site{Replicas: replicas(5)})
		p := udpPacket(f.client, f.dns)
		r.device(t, "first", p, actRedirect, steered)
		r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Draining: true}, {ID: 6}}})
		r.device(t, "draining", p, actRedirect, steered)
		if id, _ := r.flowOf(t, p); id != 5 {
			t.Errorf("while 5 drains its flow went to %d", id)
		}
		r.site(t, 1, Site{Replicas: replicas(6)})
		r.device(t, "replaced", p, actRedirect, steered)
		if id, _ := r.flowOf(t, p); id != 6 {
			t.Errorf("the flow still goes to %d", id)
		}
		if err := r.ParkSite(1); err != nil {
			t.Fatal(err)
		}
		r.device(t, "parked", p, actOK, holds)
		r.site(t, 1, Site{Refuse: true})
		r.device(t, "refusing", p, actRedirect, toSink)
	}
}

func TestRootRefusedAlsoByAKnownPort(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	first := tcpPacket(client4, web4, syn)
	r.device(t, "first", first, actRedirect, steered)
	r.site(t, 1, Site{Refuse: true})
	r.device(t, "SYN", first, actRedirect, toSink)
	r.device(t, "data of its connection", tcpPacket(client4, web4, ack), actRedirect, steered)
}
