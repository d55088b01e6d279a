package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// The victim of these tests is site 1, with replica 5; the attack is at site 2, with
// replica 6, or by it.
const attacked4, attacked6 = "10.77.0.3", "[fd77:fc::3]"

func newAttack(t testing.TB) (r *rig, victimAt, attackedAt int) {
	t.Helper()
	testutil.Privileged(t)
	r = newRig(t)
	r.listen(t, 1, vip4, vip6)
	victimAt = r.replicaAt(t, 5)
	a4, a6 := netip.MustParseAddr("10.77.0.3"), netip.MustParseAddr("fd77:fc::3")
	r.listen(t, 2, a4, a6)
	attackedAt, _ = deviceOf(t)
	if err := r.AddReplica(6, Replica{Site: 2, Ifindex: attackedAt, NSID: -1, Cookie: 6, VIP4: a4, VIP6: a6}); err != nil {
		t.Fatal(err)
	}
	r.change(t, 6, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.site(t, 2, Site{Replicas: replicas(6)})
	return r, victimAt, attackedAt
}

// forged is another source for each i.
func forged(six bool, i int) string {
	if six {
		return fmt.Sprintf("[2001:db8:%x::%x]:%d", i>>16, i&0xffff, 1024+i%60000)
	}
	return fmt.Sprintf("198.%d.%d.%d:%d", 18+i>>16&1, i>>8&255, i&255, 1024+i%60000)
}

// One sender, or one site, fills each table of what costs nothing: what another site
// has in it stays.
func TestRootFloodPushesOutItsOwn(t *testing.T) {
	const more, flood = 0x2000, testFlows * 5 / 4
	fragment := func(p packet, id uint32, field uint16) packet {
		return p.with(func(p *packet) { p.fragID, p.frag, p.payload = id, field, make([]byte, 64) })
	}
	for _, six := range []bool{false, true} {
		f, attacked := families[0], attacked4
		if six {
			f, attacked = families[1], attacked6
		}
		for _, c := range []struct {
			name  string
			table func(*rig) *ebpf.Map
			sent  func(i int) packet // i 0: by the victim, or to it
			own   bool               // by the site itself
		}{
			{"handshakes", func(r *rig) *ebpf.Map { return r.objs.FcHandshakes }, func(i int) packet {
				if i == 0 {
					return tcpPacket(f.client, f.web, syn)
				}
				return tcpPacket(forged(six, i), attacked+":80", syn)
			}, false},
			{"datagrams", func(r *rig) *ebpf.Map { return r.objs.FcDatagrams }, func(i int) packet {
				if i == 0 {
					return udpPacket(f.client, f.dns)
				}
				return udpPacket(forged(six, i), attacked+":53")
			}, false},
			{"fragments", func(r *rig) *ebpf.Map { return r.objs.FcFrags }, func(i int) packet {
				if i == 0 {
					return fragment(udpPacket(f.client, f.dns), 7, more)
				}
				return fragment(udpPacket(forged(six, i), attacked+":53"), uint32(i), more)
			}, false},
			{"own flows", func(r *rig) *ebpf.Map { return r.objs.FcOwnFlows }, func(i int) packet {
				if i == 0 {
					return udpPacket(f.client, f.web).reply(0)
				}
				return udpPacket(forged(six, i), attacked+":99").reply(0)
			}, true},
			{"own fragments", func(r *rig) *ebpf.Map { return r.objs.FcFragsOut }, func(i int) packet {
				if i == 0 {
					return fragment(udpPacket(f.client, f.web).reply(0), 7, more)
				}
				to := netip.AddrPortFrom(netip.MustParseAddrPort(forged(six, i)).Addr(), netip.MustParseAddrPort(f.client).Port())
				return fragment(udpPacket(to.String(), attacked+":99").reply(0), uint32(i), more)
			}, true},
		} {
			t.Run(f.name+" "+c.name, func(t *testing.T) {
				r, victimAt, attackedAt := newAttack(t)
				if c.name == "own fragments" { // the rest of a datagram is remembered where its port decides
					port := netip.MustParseAddrPort(f.client).Port()
					err := errors.Join(r.SetRule(Rule{Target: TargetHost}, false), r.SetRule(Rule{Target: TargetHost, Proto: UDP, Port: port}, true))
					if err != nil {
						t.Fatal(err)
					}
				}
				send := func(i int) {
					prog, at := r.objs.FcDevice, 0
					if c.own {
						prog, at = r.objs.FcReplicaOut, attackedAt
						if i == 0 {
							at = victimAt
						}
					}
					if ret := run(t, prog, c.sent(i).frame(), at); ret != actRedirect {
						t.Fatalf("packet %d: returned %d", i, int32(ret))
					}
				}
				send(0)
				before := r.counters(t)
				for i := 1; i <= flood; i++ {
					send(i)
				}
				of := map[netip.Addr]int{}
				var k dpFcCellKey
				var cell dpFcCell
				it := c.table(r).Iterate()
				for it.Next(&k, &cell) {
					of[fromAddr(k.Vip)]++
				}
				if err := it.Err(); err != nil {
					t.Fatal(err)
				}
				victim := vip4
				if six {
					victim = vip6
				}
				if n := of[victim]; n != 1 {
					t.Errorf("the victim has %d entries left of one", n)
				}
				attacked := netip.MustParseAddrPort(attacked + ":1").Addr()
				if n := of[attacked]; n < testSiteFlows*3/4 || n > testSiteFlows {
					t.Errorf("the attacked site has %d entries, may have %d", n, testSiteFlows)
				}
				if got := r.counters(t).since(before)["cell_taken"]; got < flood-testSiteFlows {
					t.Errorf("%d entries made room, of %d packets", got, flood)
				}
			})
		}
	}
}

// With the table full, or its own share, a replica's connection is found by its
// socket: by whoever of both ends it was begun, and also while its site is parked.
func TestRootOwnConnectionIsFoundByItsSocket(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			peer := w.peer(t, f.name)
			var echo net.PacketConn
			w.client.Do(t, func() {
				var err error
				if echo, err = net.ListenPacket("udp", peer); err != nil {
					t.Fatal(err)
				}
			})
			defer echo.Close()
			tcp := connect(t, w.replica, peer)
			defer tcp.Close()
			dial := func(connected bool) (from string) {
				var c net.PacketConn
				w.replica.Do(t, func() {
					var err error
					if connected {
						var conn net.Conn
						if conn, err = net.Dial("udp", peer); err == nil {
							c = conn.(net.PacketConn)
						}
					} else {
						c, err = net.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddrPort(f.web).Addr(), 0).String())
					}
					if err != nil {
						t.Fatal(err)
					}
				})
				t.Cleanup(func() { c.Close() })
				return c.LocalAddr().String()
			}
			found := counted{"flow_found_by_socket": 1, "steered": 1}
			answer := tcpPacket(peer, tcp.LocalAddr().String(), ack, "answer")
			datagram := udpPacket(peer, dial(true), "answer")
			stranger := func(p packet) packet {
				return p.with(func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), p.src.Port()^1) })
			}
			for _, parked := range []bool{true, false} {
				if !parked {
					w.site(t, 1, Site{Replicas: replicas(5)})
				}
				if err := emptyHash(w.objs.FcOwnFlows); err != nil {
					t.Fatal(err)
				}
				w.device(t, "an answer", answer, actRedirect, found)
				w.device(t, "a datagram", datagram, actRedirect, found)
				w.device(t, "a stranger's segment", stranger(answer), actRedirect, toSink)
				w.device(t, "a stranger's datagram", stranger(datagram), actRedirect, toSink)
				w.device(t, "a SYN to that port", answer.with(func(p *packet) { p.flags = syn }), actRedirect, toSink)
			}
			w.device(t, "to a socket that is connected to nobody", udpPacket(peer, dial(false), "hello"), actRedirect, toSink)
			tcp.Close()
			echo.Close()
		})
	}
}

// A connection is in the table from its handshake's end to its own, and no site has
// more of them there than its quota; those beyond it are found by their sockets.
func TestRootQuotaOfConnections(t *testing.T) {
	const quota, conns = 3, 5
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			if err := w.updateSettings(func(s *dpFcSettings) { s.FlowsPerSite = quota }); err != nil {
				t.Fatal(err)
			}
			w.site(t, 1, Site{Replicas: replicas(5)})
			w.listener(t, false)
			before := w.counters(t)
			var all []*net.TCPConn
			for range conns {
				all = append(all, w.dial(t, f.web))
			}
			w.connections(t, conns, conns)
			if n := w.inFlows(t); n != quota {
				t.Errorf("%d connections are in the table, want %d", n, quota)
			}
			for i, c := range all {
				w.device(t, "data", tcpPacket(c.LocalAddr().String(), f.web, ack, "data"), actRedirect,
					map[bool]counted{true: steered, false: {"steered": 1, "flow_found_by_socket": 1, "flow_quota": 1}}[i < quota])
			}
			lost := tcpPacket(all[0].LocalAddr().String(), f.web, ack, "data")
			if err := w.objs.FcFlows.Delete(flowKey(lost)); err != nil {
				t.Fatal(err)
			}
			for i, c := range all {
				abort(t, c)
				w.connections(t, uint64(conns-1-i), conns)
			}
			if n := w.inFlows(t); n != 0 {
				t.Errorf("all have ended, and %d are in the table", n)
			}
			got := w.counters(t).since(before)
			if got["flow_evicted"] != 1 || got["flow_quota"] != 2*(conns-quota) {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// What a handshake without its end leaves is no connection: whatever follows it does
// not enter the table, and goes to the same replica.
func TestRootHandshakeIsNoConnection(t *testing.T) {
	r, at, _ := newAttack(t)
	for _, f := range families {
		first := tcpPacket(f.client, f.web, syn)
		r.device(t, "SYN", first, actRedirect, steered)
		r.want(t, "SYN-ACK", r.objs.FcReplicaOut, first.reply(syn|ack).frame(), at, actRedirect, counted{"replied_stack": 1})
		for range 3 {
			r.device(t, "data", tcpPacket(f.client, f.web, ack, "data"), actRedirect, steered)
			r.want(t, "answer", r.objs.FcReplicaOut, first.reply(ack, "answer").frame(), at, actRedirect, counted{"replied_stack": 1})
		}
	}
	var k dpFcFlowKey
	var v dpFcFlow
	if it := r.objs.FcFlows.Iterate(); it.Next(&k, &v) {
		t.Errorf("the table of connections has %+v", k)
	}
}

// sequence is where a client's connection is: what it sends next, and what it waits for.
func sequence(t testing.TB, c *net.TCPConn) (next, wanted uint32) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctlErr := raw.Control(func(s uintptr) {
		fd := int(s)
		set := func(name, v int) {
			if err == nil {
				err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, name, v)
			}
		}
		get := func(queue int) (v int) {
			if set(unix.TCP_REPAIR_QUEUE, queue); err == nil {
				v, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
			}
			return v
		}
		set(unix.TCP_REPAIR, 1)
		next, wanted = uint32(get(2)), uint32(get(1)) // TCP_SEND_QUEUE, TCP_RECV_QUEUE
		set(unix.TCP_REPAIR, -1)                      // off, and without a word to the other end
	}); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	return next, wanted
}

// Of a segment that is in no table and of no socket the cookie decides: the end of a
// handshake that a kernel has answered with one goes to a replica that may get new
// flows, always the same one. Whatever else strangers send touches nobody.
func TestRootEndOfAFloodedHandshake(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			w.listener(t, false)
			w.replica.Run(t, "sysctl", "-qw", "net.ipv4.tcp_syncookies=2") // always
			c := w.dial(t, f.web)
			seq, acked := sequence(t, c)
			end := tcpPacket(c.LocalAddr().String(), f.web, ack).with(func(p *packet) { p.seq, p.acked = seq, acked })
			abort(t, c)
			w.connections(t, 0, 1)
			for id := ReplicaID(6); id <= 8; id++ {
				err := w.AddReplica(id, Replica{Site: 1, Ifindex: 1000 + int(id), NSID: -1, Cookie: uint64(id), VIP4: vip4, VIP6: vip6})
				if err != nil {
					t.Fatal(err)
				}
				w.change(t, id, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
			}
			w.device(t, "parked", end, actRedirect, toSink)
			w.site(t, 1, Site{Replicas: replicas(6)})
			w.device(t, "the end", end, actRedirect, steered)
			w.device(t, "with data", end.with(func(p *packet) { p.payload = []byte("GET /") }), actRedirect, steered)
			for what, change := range map[string]func(*packet){
				"another number":     func(p *packet) { p.acked += 1000 }, // of small steps the kernel reads another MSS
				"an old one":         func(p *packet) { p.seq -= 1000 },
				"another client":     func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), p.src.Port()^1) },
				"another port":       func(p *packet) { p.dst = netip.AddrPortFrom(p.dst.Addr(), 443) },
				"a reset":            func(p *packet) { p.flags = rst | ack },
				"no acknowledgement": func(p *packet) { p.flags = psh },
				"a SYN-ACK":          func(p *packet) { p.flags = syn | ack },
				"a SYN that is none": func(p *packet) { p.flags = syn | fin },
			} {
				w.device(t, what, end.with(change), actRedirect, toSink)
			}
			draining := Site{Replicas: []SiteReplica{{ID: 6, Draining: true}}}
			w.site(t, 1, draining)
			w.device(t, "draining", end, actRedirect, toSink)
			w.site(t, 1, Site{Replicas: replicas(6)})
			w.change(t, 6, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 0, 0 })
			w.device(t, "not ready", end, actRedirect, toSink)
			w.change(t, 6, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
			if err := w.SetAsleep(6, true); err != nil {
				t.Fatal(err)
			}
			w.device(t, "asleep", end, actRedirect, toSink)
			if st, err := w.Stats(6); err != nil || !st.Asleep || st.Last != 0 || st.Used != 0 {
				t.Errorf("it was woken, or counts as used: %+v (%v)", st, err)
			}
			w.site(t, 1, Site{Replicas: replicas(6, 7, 8)})
			if err := w.SetAsleep(6, false); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				w.device(t, "of several", end, actRedirect, steered)
			}
		})
	}
}

// A connection that a replica begins from a port that visitors may come to is none of
// theirs: it is in no table, so that none can be filled by it, and the rules are asked.
func TestRootOwnConnectionOfAVisitorsPort(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			peer := w.peer(t, f.name)
			c := connectFrom(t, w.replica, f.web, peer)
			defer abort(t, c)
			for _, s := range []Site{{Replicas: replicas(5)}, {}} {
				w.site(t, 1, s)
				for range 2 {
					w.device(t, "an answer", tcpPacket(peer, f.web, ack, "answer"), actRedirect, counted{"steered": 1, "flow_found_by_socket": 1})
				}
			}
			if n := w.inFlows(t); n != 0 {
				t.Errorf("%d connections are in the table", n)
			}
		})
	}
}

// What a peer sends in a connection of a replica's own gives no leave to answer: when
// its rules have changed they are asked, also of what its socket was found for.
func TestRootFoundConnectionsKeepToTheRules(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			at, _ := deviceOf(t)
			if err := w.objs.FcVeths.Put(uint32(at), uint32(5)); err != nil {
				t.Fatal(err)
			}
			peer := w.peer(t, f.name)
			c := connect(t, w.replica, peer)
			defer abort(t, c)
			answer := tcpPacket(peer, c.LocalAddr().String(), ack, "answer")
			more := answer.reply(ack, "more").frame()
			w.want(t, "as allowed", w.objs.FcReplicaOut, more, at, actRedirect, counted{"replied_stack": 1})
			w.device(t, "an answer", answer, actRedirect, steered)
			to := netip.MustParseAddrPort(peer).Addr()
			if err := w.SetRule(Rule{Site: 1, Prefix: netip.PrefixFrom(to, to.BitLen())}, false); err != nil {
				t.Fatal(err)
			}
			if err := w.ResetFlows(vip4, vip6); err != nil {
				t.Fatal(err)
			}
			w.device(t, "one more", answer, actRedirect, counted{"steered": 1, "flow_found_by_socket": 1})
			w.want(t, "as denied", w.objs.FcReplicaOut, more, at, actShot, counted{"policy": 1})
		})
	}
}

// inFlows is how many connections are in their table.
func (r *rig) inFlows(t testing.TB) (n int) {
	t.Helper()
	var k dpFcFlowKey
	var v dpFcFlow
	it := r.objs.FcFlows.Iterate()
	for ; it.Next(&k, &v); n++ {
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// A connection that the table has lost ends while its packets put it back: whoever is
// last, nothing of it is left.
func TestRootNoFlowOutlivesItsConnection(t *testing.T) {
	w := newWire(t)
	w.listener(t, false)
	w.site(t, 1, Site{Replicas: replicas(5)})
	const rounds = 200
	for i := range rounds {
		f := families[i%2]
		c := w.dial(t, f.web)
		w.connections(t, 1, uint64(i+1))
		data := tcpPacket(c.LocalAddr().String(), f.web, ack, "data")
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if _, err := w.objs.FcDevice.Run(&ebpf.RunOptions{Data: data.frame(), Repeat: 20}); err != nil {
					<-stop
					stopped <- err
					return
				}
			}
		}()
		for range 20 {
			if err := ignoreMissing(w.objs.FcFlows.Delete(flowKey(data))); err != nil {
				t.Fatal(err)
			}
		}
		abort(t, c)
		w.connections(t, 0, uint64(i+1))
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		if n := w.inFlows(t); n != 0 {
			t.Fatalf("round %d: the connection has ended, and is in the table", i)
		}
	}
}

// Another size of the tables of flows is no reason to stop sites: they are made anew.
func TestRootOtherSizesOfFlows(t *testing.T) {
	testutil.Privileged(t)
	o := Options{PinDir: pinDir(t), MaxFlows: 1024, SiteFlows: 128}
	first := openAt(t, o)
	if err := errors.Join(first.SetSite(1, Site{Refuse: true}), first.objs.FcFlows.Put(dpFcFlowKey{}, dpFcFlow{Replica: 1})); err != nil {
		t.Fatal(err)
	}
	if err := openAt(t, o).objs.FcFlows.Lookup(dpFcFlowKey{}, &dpFcFlow{}); err != nil {
		t.Errorf("with the same sizes, a connection: %v", err)
	}
	o.MaxFlows, o.SiteFlows = 2048, 200
	d := openAt(t, o)
	if got, err := d.Sites(); err != nil || !got[1].Refuse {
		t.Errorf("sites %+v (%v)", got, err)
	}
	for m, want := range map[*ebpf.Map]uint32{d.objs.FcFlows: 2048, d.objs.FcHandshakes: 2048, d.objs.FcDatagrams: 2048, d.objs.FcOwnFlows: 2048, d.objs.FcFrags: 1024, d.objs.FcFragsOut: 1024} {
		if n := m.MaxEntries(); n != want {
			t.Errorf("%v has room for %d, want %d", m, n, want)
		}
	}
	var s dpFcSettings
	if err := d.objs.FcConfig.Lookup(uint32(0), &s); err != nil || s.FlowsPerSite != 200 || s.CellMask != 127 || s.Seed == 0 {
		t.Errorf("settings %+v (%v)", s, err)
	}
}

// A datagram of which the table knows nothing any more goes where those before it
// went.
func TestRootLostDatagramsGoWhereTheyWent(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	const n, flows = 4, 200
	var ids []ReplicaID
	for id := ReplicaID(1); id <= n; id++ {
		r.replica(t, id, 1, 7, 7)
		ids = append(ids, id)
	}
	r.site(t, 1, Site{Replicas: replicas(ids...)})
	for _, f := range families {
		share := map[ReplicaID]int{}
		went := func(i int) ReplicaID {
			p := udpPacket(netip.AddrPortFrom(netip.MustParseAddrPort(f.client).Addr(), uint16(1000+i)).String(), f.dns)
			if err := emptyHash(r.objs.FcDatagrams); err != nil {
				t.Fatal(err)
			}
			r.device(t, "datagram", p, actRedirect, steered)
			id, _ := r.flowOf(t, p)
			return id
		}
		for i := range flows {
			first := went(i)
			share[first]++
			if again := went(i); again != first || first == 0 {
				t.Fatalf("flow %d went to %d, and then to %d", i, first, again)
			}
		}
		for _, id := range ids { // six standard deviations of 200 in quarters
			if share[id] < 50-37 || share[id] > 50+37 {
				t.Errorf("replica %d got %d of %d: %v", id, share[id], flows, share)
			}
		}
	}
}

// Who has an address: as long as a replica is there, not as long as its site steers
// to it, and never more than there is room for.
func TestRootWhoHasAnAddress(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	who := func(a netip.Addr) []uint32 {
		var v dpFcVip
		if err := ignoreMissing(r.objs.FcVips.Lookup(toAddr(a), &v)); err != nil {
			t.Fatal(err)
		}
		return v.Replicas[:v.N]
	}
	const room = len(dpFcVip{}.Replicas)
	for id := range ReplicaID(room + 3) {
		r.replica(t, id+1, 1, 0, 0)
	}
	if n := len(who(vip4)); n != room {
		t.Errorf("%d replicas have the address, want %d", n, room)
	}
	if err := r.objs.FcReplicas.Delete(uint32(1)); err != nil { // a daemon was killed here
		t.Fatal(err)
	}
	for id := ReplicaID(2); id <= ReplicaID(room+3); id++ {
		if err := r.RemoveReplica(id, Replica{Ifindex: 1000 + int(id), Cookie: uint64(id) << 40}); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []netip.Addr{vip4, vip6} {
		if left := who(a); len(left) != 0 {
			t.Errorf("%v: %v are left", a, left)
		}
	}
	var k dpFcAddr
	var v dpFcVip
	if it := r.objs.FcVips.Iterate(); it.Next(&k, &v) {
		t.Errorf("an entry of %v is left", fromAddr(k))
	}
}
