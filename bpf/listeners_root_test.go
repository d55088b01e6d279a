package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// wantEvent reads the next event, of replica 5 of site 1.
func (r *rig) wantEvent(t testing.TB, kind EventKind) Event {
	t.Helper()
	ev, any := r.nextEvent(t)
	if !any || ev.Kind != kind || ev.Replica != 5 || ev.Site != 1 {
		t.Fatalf("event %+v (%v), want kind %d of replica 5", ev, any, kind)
	}
	return ev
}

func (r *rig) noEvent(t testing.TB, what string) {
	t.Helper()
	if ev, any := r.nextEvent(t); any {
		t.Errorf("%s: event %+v", what, ev)
	}
}

func (r *rig) wantMasks(t testing.TB, what string, ready4, ready6 uint32) {
	t.Helper()
	if st, err := r.Stats(5); err != nil || st.Ready4 != ready4 || st.Ready6 != ready6 {
		t.Errorf("%s: ports %03b for IPv4, %03b for IPv6 (%v), want %03b, %03b", what, st.Ready4, st.Ready6, err, ready4, ready6)
	}
}

func closeFD(t testing.TB, fd int) {
	t.Helper()
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// A port is ready as long as somebody listens: it is the last one that counts.
func TestRootLastListener(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		name    string
		sockets []socketSpec
		masks   [][2]uint32 // after each one's end
	}{
		{"one", []socketSpec{{at: at("0.0.0.0:80")}}, [][2]uint32{{0, 0}}},
		{"dual-stack", []socketSpec{{at: at("[::]:80")}}, [][2]uint32{{0, 0}}},
		{"dual-stack, MPTCP", []socketSpec{{at: at("[::]:80"), mptcp: true}}, [][2]uint32{{0, 0}}},
		{
			"one for each family",
			[]socketSpec{{at: at("0.0.0.0:80")}, {at: at("[::]:80"), only6: true}},
			[][2]uint32{{0, 1}, {0, 0}},
		},
		{
			"SO_REUSEPORT",
			[]socketSpec{{at: at("0.0.0.0:80"), shared: true}, {at: at("0.0.0.0:80"), shared: true}, {at: at("[::]:80"), shared: true}},
			[][2]uint32{{1, 1}, {1, 1}, {0, 0}},
		},
		{
			"any and the VIP",
			[]socketSpec{{at: at("[::]:80"), shared: true}, {at: at("10.77.0.2:80"), shared: true}},
			[][2]uint32{{1, 0}, {0, 0}},
		},
		{"UDP", []socketSpec{{udp: true, at: at("0.0.0.0:53")}}, [][2]uint32{{0, 0}}},
		{
			"UDP, dual-stack and SO_REUSEPORT",
			[]socketSpec{{udp: true, at: at("[::]:53"), shared: true}, {udp: true, at: at("0.0.0.0:53"), shared: true}},
			[][2]uint32{{4, 0}, {0, 0}},
		},
		{
			"the loopback device is another matter",
			[]socketSpec{{at: at("127.0.0.1:80")}, {at: at("10.77.0.2:80")}},
			[][2]uint32{{1, 0}, {0, 0}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.sockets[0].mptcp {
				testutil.RequireFeature(t, "MPTCP")
			}
			r, ns := socketRig(t, true)
			var fds []int
			for _, s := range c.sockets {
				fds = append(fds, s.openFD(t, ns))
			}
			for r.wantEvent(t, EventReady); ; {
				if ev, any := r.nextEvent(t); !any {
					break
				} else if ev.Kind != EventReady {
					t.Errorf("event %+v while listening", ev)
				}
			}
			st, err := r.Stats(5)
			if err != nil {
				t.Fatal(err)
			}
			for i, fd := range fds {
				closeFD(t, fd)
				r.wantMasks(t, c.name, c.masks[i][0], c.masks[i][1])
				if now := c.masks[i]; now != [2]uint32{st.Ready4, st.Ready6} {
					ev := r.wantEvent(t, EventReady)
					if ev.Ready4 != now[0] || ev.Ready6 != now[1] {
						t.Errorf("event %+v, want the masks %v", ev, now)
					}
					st.Ready4, st.Ready6 = now[0], now[1]
				}
				r.noEvent(t, "closed")
			}
			c.sockets[len(fds)-1].open(t, ns) // a restart inside of the container
			r.wantEvent(t, EventReady)
		})
	}
}

// shutdown() ends listening too, and listen() begins it again.
func TestRootListenerShutDown(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	fd := socketSpec{at: netip.MustParseAddrPort("10.77.0.2:80")}.open(t, ns)
	wantReady(t, r, 1, 0)
	for range 2 {
		if err := unix.Listen(fd, 99); err != nil { // only another backlog
			t.Fatal(err)
		}
		r.noEvent(t, "listens already")
		if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
			t.Fatal(err)
		}
		r.wantEvent(t, EventReady)
		r.wantMasks(t, "shut down", 0, 0)
		if err := unix.Listen(fd, 16); err != nil {
			t.Fatal(err)
		}
		wantReady(t, r, 1, 0)
	}
}

// The listener's callback is inherited by what it accepts: that must change
// neither the ports nor, for a container that talks to itself, the connections.
func TestRootConnectionsOfAListenerThatEnds(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	l := socketSpec{at: netip.MustParseAddrPort("0.0.0.0:80")}.openFD(t, ns)
	wantReady(t, r, 1, 0)
	accept := func() int {
		fd, _, err := unix.Accept(l)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	self := connect(t, ns, "127.0.0.1:80")
	selfIn := accept()
	visitor := connect(t, ns, "10.77.0.2:80")
	in := accept()
	r.connections(t, 1, 1)
	r.wantEvent(t, EventEstablished)
	abort(t, self)
	closeFD(t, selfIn)
	r.connections(t, 1, 1)
	closeFD(t, l)
	r.wantEvent(t, EventReady)
	r.wantMasks(t, "the listener is gone", 0, 0)
	r.connections(t, 1, 1)
	abort(t, visitor)
	r.connections(t, 0, 1)
	closeFD(t, in)
	r.noEvent(t, "connections ended")
}

func TestRootLastConnectionIsTold(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
	wantReady(t, r, 1, 1)
	watch := func(want uint64) {
		t.Helper()
		if got, err := r.WatchEmpty(5, true); err != nil || got != want {
			t.Errorf("%d connections now (%v), want %d", got, err, want)
		}
	}
	watch(0)
	first, second := connect(t, ns, "10.77.0.2:80"), connect(t, ns, "[fd77:fc::2]:80")
	r.connections(t, 2, 2)
	r.wantEvent(t, EventEstablished)
	watch(2)
	abort(t, first)
	r.connections(t, 1, 2)
	r.noEvent(t, "one is left")
	abort(t, second)
	r.connections(t, 0, 2)
	r.wantEvent(t, EventEmpty)

	third := connect(t, ns, "10.77.0.2:80")
	r.connections(t, 1, 3)
	abort(t, third)
	r.connections(t, 0, 3)
	r.noEvent(t, "told already")

	fourth := connect(t, ns, "10.77.0.2:80")
	r.connections(t, 1, 4)
	watch(1)
	if _, err := r.WatchEmpty(5, false); err != nil {
		t.Fatal(err)
	}
	abort(t, fourth)
	r.connections(t, 0, 4)
	r.noEvent(t, "not watched any more")
}

// A wake that begins makes the next connection the first one again.
func TestRootBeginWake(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	socketSpec{at: netip.MustParseAddrPort("0.0.0.0:80")}.open(t, ns)
	wantReady(t, r, 1, 0)
	connectOnce := func() {
		t.Helper()
		conn := connect(t, ns, "10.77.0.2:80")
		t.Cleanup(func() { conn.Close() })
	}
	connectOnce()
	r.wantEvent(t, EventEstablished)
	connectOnce()
	r.connections(t, 2, 2)
	r.noEvent(t, "the second")
	r.change(t, 5, func(v *dpFcReplica) { v.FirstByteNs = 7 })
	if err := r.BeginWake(5); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Stats(5); err != nil || st.Established != 0 || st.FirstByte != 0 || st.ConnsTotal != 2 {
		t.Errorf("after BeginWake %+v (%v)", st, err)
	}
	connectOnce()
	ev := r.wantEvent(t, EventEstablished)
	if st, err := r.Stats(5); err != nil || st.Established != ev.Time {
		t.Errorf("established at %d (%v), the event says %d", st.Established, err, ev.Time)
	}
}

// A replica that opens and closes a port without a pause has one event on its way,
// and so there is room for its neighbour's.
func TestRootFlappingPortHasOneEvent(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	other := testutil.NetNS(t)
	r.listen(t, 2, netip.MustParseAddr("10.77.0.3"))
	other.Run(t, "ip", "address", "add", "10.77.0.3/32", "dev", "lo")
	if err := r.AddReplica(6, Replica{Site: 2, Ifindex: 1006, NSID: -1, Cookie: other.Cookie(t), VIP4: netip.MustParseAddr("10.77.0.3")}); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	const flaps = 12000 // of two events each, there is room for 21,845
	began := time.Now()
	for i := range flaps {
		s := socketSpec{at: at("0.0.0.0:80")}
		if i%2 == 1 {
			s = socketSpec{udp: true, at: at("0.0.0.0:53")}
		}
		closeFD(t, s.openFD(t, ns))
	}
	t.Logf("%d times in %v", flaps, time.Since(began))
	socketSpec{at: at("0.0.0.0:80")}.open(t, other)
	var of [7]int
	for {
		r.events.r.SetDeadline(time.Now())
		ev, err := r.events.Read() // and nobody takes the ports
		if err != nil {
			break
		}
		of[ev.Replica]++
	}
	if of[5] != 1 || of[6] != 1 {
		t.Errorf("%d events of the flapping replica, %d of its neighbour, want one each", of[5], of[6])
	}
	if n := r.counters(t)["event_lost"]; n != 0 {
		t.Errorf("%d events are lost", n)
	}
	if r4, r6, err := r.TakePorts(5); err != nil || r4 != 0 || r6 != 0 {
		t.Errorf("it is known to listen on %b, %b (%v)", r4, r6, err)
	}
	socketSpec{udp: true, at: at("0.0.0.0:53")}.open(t, ns)
	r.wantEvent(t, EventReady)
	r.wantMasks(t, "in the end", 4, 0)
}
