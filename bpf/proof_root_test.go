package bpf

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/tests/testutil"
)

// proof asks for proofs anew.
func (r *rig) proof(t testing.TB, p Proof, trust Rate) {
	t.Helper()
	if err := r.objs.FcProofs.Put(uint32(0), dpFcProof{}); err != nil {
		t.Fatal(err)
	}
	if err := r.setProof(p, trust); err != nil {
		t.Fatal(err)
	}
}

// proofs is what the programs have noted of them.
func (r *rig) proofs(t testing.TB) (s dpFcProof) {
	t.Helper()
	if err := r.objs.FcProofs.Lookup(uint32(0), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// sent runs a program on a packet that has come in by a link, and returns what becomes of the packet.
func (r *rig) sent(t testing.TB, prog *ebpf.Program, ifindex int, p packet) (ret uint32, frame []byte, counts counted) {
	t.Helper()
	before := r.counters(t)
	o := &ebpf.RunOptions{Data: p.frame(), DataOut: make([]byte, 2048), Context: skbContext{Ingress: 7, Ifindex: uint32(ifindex)}}
	ret, err := prog.Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return ret, o.DataOut, r.counters(t).since(before)
}

// internetSum is that of RFC 1071.
func internetSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i]) << 8
		if i+1 < len(b) {
			s += uint32(b[i+1])
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// asked checks that a frame is the SYN-ACK for a SYN, whole, and returns its number.
func asked(t testing.TB, p packet, frame []byte) uint32 {
	t.Helper()
	be := binary.BigEndian
	ip := frame[14:]
	head, addrs := 40, 8
	if p.src.Addr().Is4() {
		head, addrs = 20, 12
		if internetSum(ip[:head]) != 0xffff {
			t.Errorf("the checksum of the header % x is wrong", ip[:head])
		}
	}
	if len(ip) != head+24 {
		t.Fatalf("the answer has %d bytes: % x", len(ip), ip)
	}
	n := p.src.Addr().BitLen() / 8
	want := append(p.dst.Addr().AsSlice(), p.src.Addr().AsSlice()...)
	if got := ip[addrs : addrs+2*n]; string(got) != string(want) {
		t.Errorf("the addresses are % x, want % x", got, want)
	}
	tcp := ip[head:]
	pseudo := append(append([]byte{}, want...), 0, byte(TCP), 0, 24)
	if internetSum(append(pseudo, tcp...)) != 0xffff {
		t.Errorf("the checksum of the segment % x is wrong", tcp)
	}
	mss := be.Uint16(tcp[22:])
	if be.Uint16(tcp) != p.dst.Port() || be.Uint16(tcp[2:]) != p.src.Port() || be.Uint32(tcp[8:]) != p.seq+1 ||
		tcp[12] != 6<<4 || tcpFlags(tcp[13]) != syn|ack || tcp[20] != 2 || tcp[21] != 4 || int(mss) != 1500-head-20 || be.Uint16(tcp[14:]) != 2*mss {
		t.Errorf("the segment is % x", tcp)
	}
	return be.Uint32(tcp[4:])
}

// flooding is a SYN to site i, each from another network.
func flooding(addrs [][2]string, family, i int) packet {
	from := netip.AddrFrom4([4]byte{198, 18, byte(i), 1})
	if family == 1 {
		from = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::1", i))
	}
	to := netip.MustParseAddr(addrs[i%len(addrs)][family])
	return packet{src: netip.AddrPortFrom(from, 1000), dst: netip.AddrPortFrom(to, 80), proto: TCP, flags: syn, seq: uint32(i)}
}

// TestRootProofOfAFlood: of SYNs with forged sources from everywhere so many are held as may be on trust, and no more for as long as they come; all others are
// answered, and neither their sources nor their sites pay a wake for it. Those that cannot be forged, and datagrams, are held. Told once.
func TestRootProofOfAFlood(t *testing.T) {
	testutil.Privileged(t)
	for family, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			addrs := r.many(t, 200)
			uplink, _ := deviceOf(t)
			r.limits(t, Rate{Burst: 1, Every: time.Hour}, Rate{Burst: 1, Every: time.Hour})
			var told []Limited
			for mode, want := range map[Proof]int{ProofOff: 200, ProofAuto: 20, ProofAlways: 0} {
				r.proof(t, mode, Rate{Burst: 20, Every: time.Hour})
				for _, m := range []*ebpf.Map{r.objs.FcWakeSource, r.objs.FcWakeSite, r.objs.FcHoldCounts, r.objs.FcHeldFlows} {
					empty(t, m)
				}
				held, answered := 0, 0
				for i := range 200 {
					p := flooding(addrs, family, i)
					ret, frame, counts := r.sent(t, r.objs.FcDevice, 1, p)
					held += int(counts["held"])
					if counts["proof_asked"] > 0 {
						answered++
						asked(t, p, frame)
						if ret != actRedirect || counts["replied_stack"] != 1 {
							t.Fatalf("the answer: returned %d and counted %v", ret, counts)
						}
					}
				}
				if held != want || answered != 200-want {
					t.Errorf("%s: %d are held and %d answered, want %d and the rest", mode, held, answered, want)
				}
				if mode == ProofOff {
					continue
				}
				r.device(t, "of the machine's own", flooding(addrs, family, 199).with(func(p *packet) { p.seq = 7 }), actOK, holds)
				site := flooding(addrs, family, 198)
				site.src = netip.AddrPortFrom(netip.MustParseAddr(addrs[1][family]), 1000)
				if _, _, counts := r.sent(t, r.objs.FcDevice, 1, site); counts["held"] != 1 {
					t.Errorf("%s: a site's SYN is counted %v", mode, counts)
				}
				datagram := flooding(addrs, family, 197)
				datagram.proto, datagram.dst = UDP, netip.AddrPortFrom(datagram.dst.Addr(), 53)
				if _, _, counts := r.sent(t, r.objs.FcDevice, 1, datagram); counts["held"] != 1 {
					t.Errorf("%s: a datagram is counted %v", mode, counts)
				}
				if mode == ProofAuto {
					told = append(told, r.limited(t)...)
					s := r.proofs(t)
					s.Bucket.Told = 0
					if err := r.objs.FcProofs.Put(uint32(0), s); err != nil {
						t.Fatal(err)
					}
				}
				// the uplink answers by itself, to the hardware that has sent
				p := flooding(addrs, family, 196)
				f := p.frame()
				router := []byte{2, 3, 3, 3, 3, 3}
				copy(f[6:], router)
				o := &ebpf.RunOptions{Data: f, DataOut: make([]byte, 2048), Context: skbContext{Ingress: uint32(uplink), Ifindex: uint32(uplink)}}
				if ret, err := r.objs.FcUplink.Run(o); ret != actRedirect || err != nil || string(o.DataOut[:12]) != string(router)+string(frameMAC) {
					t.Errorf("%s: the uplink returned %d (%v) and % x", mode, int32(ret), err, o.DataOut[:12])
				}
				asked(t, p, o.DataOut)
			}
			told = slices.DeleteFunc(append(told, r.limited(t)...), func(l Limited) bool { return l.Limit != LimitTrust })
			if len(told) != 2 || told[0].Site != 0 || !told[0].Peer.IsSingleIP() {
				t.Errorf("told %+v, want it once at the device and once at the uplink", told)
			}
		})
	}
}

// empty deletes all of a map's entries.
func empty(t testing.TB, m *ebpf.Map) {
	t.Helper()
	for {
		key, err := m.NextKeyBytes(nil)
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			return
		}
		if err := ignoreMissing(m.Delete(key)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRootProofOfACrowd: many who come to one site at once are one wake, and no flood; while there is one they prove their addresses like all others.
func TestRootProofOfACrowd(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	addrs := r.many(t, 4)
	r.proof(t, ProofAuto, Rate{Burst: 3, Every: time.Hour})
	to := func(i, site int) packet {
		p := flooding(addrs, 0, i)
		p.dst = netip.AddrPortFrom(netip.MustParseAddr(addrs[site][0]), 80)
		return p
	}
	step := func(what string, p packet, want string) {
		t.Helper()
		if _, _, counts := r.sent(t, r.objs.FcDevice, 1, p); counts[want] != 1 {
			t.Errorf("%s: counted %v, want %s", what, counts, want)
		}
	}
	step("the first", to(0, 0), "held")
	step("one of a crowd", to(1, 0), "held")
	step("one more", to(2, 0), "held")
	step("a second site's", to(3, 1), "held")
	step("a third site's", to(4, 2), "held")
	step("a fourth one's, which is too much", to(5, 3), "proof_asked")
	step("the first site's, while that lasts", to(6, 1), "proof_asked")
}

// TestRootProofIsHeld: the end of a handshake is held, once, and so is the data that follows it; what else follows is dropped and not refused. Whoever
// proves nothing is refused, and so is everybody where nobody was asked.
func TestRootProofIsHeld(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			r.proof(t, ProofAlways, Rate{})
			p := tcpPacket(f.client, f.web, syn)
			_, frame, _ := r.sent(t, r.objs.FcDevice, 1, p)
			end := p.with(func(p *packet) { p.flags, p.acked, p.seq = ack, asked(t, *p, frame)+1, p.seq+1 })
			data := end.with(func(p *packet) { p.flags, p.payload = ack|psh, []byte("GET /") })
			more := data.with(func(p *packet) { p.seq += 5 })
			step := func(what string, p packet, ret uint32, want ...string) {
				t.Helper()
				got, _, counts := r.sent(t, r.objs.FcDevice, 1, p)
				wanted := counted{}
				for _, w := range want {
					wanted[w]++
				}
				if got != ret || fmt.Sprint(counts) != fmt.Sprint(wanted) {
					t.Errorf("%s: returned %d and counted %v, want %d and %v", what, int32(got), counts, int32(ret), wanted)
				}
			}
			step("data before the end", more, actRedirect, "sink")
			step("another number", end.with(func(p *packet) { p.acked += 1000 }), actRedirect, "sink")
			step("the end", end, actOK, "held", "proof_given")
			step("the end again", end, actOK, "hold_duplicate")
			step("data", data, actOK, "held")
			step("data again", data, actOK, "hold_duplicate")
			step("more data", more, actOK, "held")
			step("its end", more.with(func(p *packet) { p.seq, p.flags, p.payload = p.seq+5, fin|ack, nil }), actOK)
			step("another client", more.with(func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), 1) }), actRedirect, "sink")
			for i, p := range []packet{end, data, more} {
				if got, ok := r.nextHeld(t); !ok || !got.Proven || string(got.Data) != string(p.frame()) {
					t.Errorf("packet %d: held %+v", i, got)
				}
			}

			// a replica is ready: who has proven is held until its listener expects it, and goes there then
			r.replica(t, 5, 1, 7, 7)
			r.site(t, 1, Site{Replicas: replicas(5)})
			other := p.with(func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), 2) })
			step("a SYN that is steered", other, actRedirect, "steered")
			step("the end, after another", end.with(func(p *packet) { p.payload = []byte("x") }), actOK, "held")
			r.device(t, "released", end, actRedirect, steered)

			r.proof(t, ProofAlways, Rate{})
			step("where nobody was asked", end, actRedirect, "steered")
			if err := r.ParkSite(1); err != nil {
				t.Fatal(err)
			}
			step("nor is awake", end, actRedirect, "sink")
		})
	}
}

// TestRootProofNeedsRoom: nobody is asked for a proof that there would be no room for, and a SYN that is held has no second answer.
func TestRootProofNeedsRoom(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	uplink, _ := deviceOf(t)
	from := func(port int) packet { return tcpPacket(fmt.Sprintf("192.0.2.1:%d", port), web4, syn) }
	for i := range testCap {
		r.device(t, "held", from(1000+i), actOK, holds)
	}
	r.proof(t, ProofAlways, Rate{})
	for _, prog := range []*ebpf.Program{r.objs.FcUplink, r.objs.FcDevice} {
		for what, p := range map[string]packet{"hold_cap": from(1), "hold_duplicate": from(1000)} {
			_, _, counts := r.sent(t, prog, uplink, p)
			if prog == r.objs.FcDevice && counts[what] != 1 || counts["proof_asked"] != 0 {
				t.Errorf("%s: counted %v", what, counts)
			}
		}
	}
	odd := from(2).with(func(p *packet) { p.options = []byte{1, 1, 1, 1} })
	if err := r.ClearHold(1); err != nil {
		t.Fatal(err)
	}
	if _, _, counts := r.sent(t, r.objs.FcDevice, 1, odd); counts["malformed"] != 1 || counts["held"] != 0 {
		t.Errorf("with options of IP: counted %v", counts)
	}
}

// TestRootTrustComesBack: a handshake that is done gives back what its SYN was held on; others do not.
func TestRootTrustComesBack(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	l := socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
	wantReady(t, r, 1, 1)
	every := time.Hour
	spent := Now() + uint64(10*every)
	r.proof(t, ProofAuto, Rate{Burst: 20, Every: every})
	s := r.proofs(t)
	s.Bucket.Full = spent
	if err := r.objs.FcProofs.Put(uint32(0), s); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		proof dpFcProofOf
		back  time.Duration
	}{{dpFcProofOfFC_PROOF_NONE, 0}, {dpFcProofOfFC_PROOF_OWED, every}, {dpFcProofOfFC_PROOF_GIVEN, every}} {
		from := netip.AddrPortFrom(netip.MustParseAddr("10.77.0.2"), uint16(30000+i))
		p := packet{src: from, dst: netip.MustParseAddrPort("10.77.0.2:80"), proto: TCP}
		if err := r.objs.FcHeldFlows.Put(flowKey(p), dpFcHeldFlow{Ns: Now(), Proof: uint32(c.proof)}); err != nil {
			t.Fatal(err)
		}
		var conn net.Conn
		var err error
		ns.Do(t, func() {
			conn, err = (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}).Dial("tcp", "10.77.0.2:80")
		})
		if err != nil {
			t.Fatal(err)
		}
		in := accept(t, l)
		spent -= uint64(c.back)
		if got := r.proofs(t).Bucket.Full; got != spent {
			t.Errorf("%d: %v came back, want %v", c.proof, time.Duration(spent+uint64(c.back)-got), c.back)
		}
		abort(t, conn)
		closeFD(t, in)
	}
}

// TestRootProofOfSleepers: a SYN for a replica that is frozen goes there, as its kernel answers alone; it wakes only as often as may be on trust. The end of a handshake
// wakes, within what its source may.
func TestRootProofOfSleepers(t *testing.T) {
	w := newWire(t)
	w.listener(t, false)
	wantReady(t, w.rig, 1, 1)
	w.site(t, 1, Site{Replicas: replicas(5)})
	uplink, _ := deviceOf(t)
	for mode, trusted := range map[Proof]int{ProofOff: 6, ProofAuto: 2, ProofAlways: 0} {
		w.proof(t, mode, Rate{Burst: 2, Every: time.Hour})
		for i := range 6 {
			w.asleep(t, 5, true)
			p := tcpPacket(fmt.Sprintf("192.0.2.1:%d", 1000+i), web4, syn)
			_, _, counts := w.sent(t, []*ebpf.Program{w.objs.FcDevice, w.objs.FcUplink}[i%2], uplink, p)
			knocks := 1
			if i >= trusted {
				knocks = 0
			}
			if counts["steered"] != 1 || int(counts["proof_asked"]) != 1-knocks {
				t.Errorf("%s: SYN %d is counted %v", mode, i, counts)
			}
			w.wantKnocks(t, fmt.Sprintf("%s: SYN %d", mode, i), knocks)
		}
	}
	for _, f := range families {
		w.asleep(t, 5, true)
		abort(t, w.dial(t, f.web))
		testutil.WaitFor(t, 5*time.Second, "the wake by a handshake", func() error {
			if st, err := w.Stats(5); err != nil || st.Asleep {
				return fmt.Errorf("asleep %v: %w", st.Asleep, err)
			}
			return nil
		})
	}
	w.limits(t, Rate{Burst: 1, Every: time.Hour}, Rate{})
	for i, asleep := range []bool{false, true} {
		w.asleep(t, 5, true)
		c := w.dial(t, web4)
		w.connections(t, 1, uint64(3+i))
		if st, err := w.Stats(5); err != nil || st.Asleep != asleep {
			t.Errorf("after handshake %d of a network that may wake one: asleep %v (%v)", i+1, st.Asleep, err)
		}
		abort(t, c)
		w.connections(t, 0, uint64(3+i))
	}
}
