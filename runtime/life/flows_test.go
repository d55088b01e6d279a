package life

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// TestFlowsOfUDPKeepAwake: a flow that lasts keeps its site awake until nothing has come for udpIdle, and not from sleep that is asked for.
func TestFlowsOfUDPKeepAwake(t *testing.T) {
	const specs = "ports: [80/tcp, 53/udp], idle: 5s, udpIdle: 60s, tiers: [cold]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
		id := d.up(t, s)
		for range 10 {
			w.datagram(id)
			pass(50 * time.Second)
			if d.phase(s) != site.Running {
				t.Fatalf("datagrams pass every 50 seconds, and the site is %s", d.phase(s))
			}
		}
		pass(20 * time.Second)
		if d.phase(s) != site.Parked || len(w.ids()) != 0 {
			t.Errorf("silence for 70 seconds: %s, replicas %v", d.phase(s), w.ids())
		}
		w.datagram(d.up(t, s))
		pass(30 * time.Second)
		if d.phase(s) != site.Running {
			t.Fatalf("30 seconds after a datagram it is %s", d.phase(s))
		}
		s.Send(site.ParkAsked{Reason: "asked for"})
		pass(time.Second)
		if d.phase(s) != site.Parked {
			t.Errorf("somebody has parked it, and it is %s", d.phase(s))
		}
	})
}

// TestFlowsOfUDPOff: by udpIdle: off a site sleeps between two datagrams.
func TestFlowsOfUDPOff(t *testing.T) {
	inWorld(t, "ports: [80/tcp, 53/udp], idle: 5s, udpIdle: 'off', tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.datagram(d.up(t, s))
		pass(20 * time.Second)
		if d.phase(s) != site.Parked {
			t.Errorf("silence for 20 seconds: %s", d.phase(s))
		}
	})
}

// TestDrainingKeepsFlowsOfUDP: a replica that drains is kept until its last flow is over, its last connection has ended, and no longer than
// circulate.drain.
func TestDrainingKeepsFlowsOfUDP(t *testing.T) {
	const specs = "ports: [80/tcp, 53/udp], idle: 1h, udpIdle: 30s, circulate: {drain: 10m}"
	circulated := func(t *testing.T, w *world, d *daemon, s *Site) (old, next bpf.ReplicaID) {
		t.Helper()
		old = d.up(t, s)
		w.datagram(old)
		var err error
		s.With(func(l *Live) { err = l.Circulate("asked for") })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ids := w.ids()
		if len(ids) != 2 {
			t.Fatalf("the replicas are %v", ids)
		}
		next = ids[1]
		d.listen(s, next)
		return old, next
	}
	t.Run("silence", func(t *testing.T) {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			old, next := circulated(t, w, d, s)
			for range 6 {
				pass(25 * time.Second)
				if !slices.Contains(w.ids(), old) {
					t.Fatal("datagrams pass, and the old replica has gone")
				}
				w.datagram(old)
			}
			pass(35 * time.Second)
			if ids := w.ids(); !slices.Equal(ids, []bpf.ReplicaID{next}) {
				t.Errorf("silence for 35 seconds: the replicas are %v", ids)
			}
			wantKinds(t, d, event.Draining, event.Drained)
		})
	})
	t.Run("a connection", func(t *testing.T) {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			old, next := circulated(t, w, d, s)
			w.mu.Lock()
			w.replicas[old].stats.ConnsNow = 1
			w.mu.Unlock()
			pass(2 * time.Minute)
			w.datagram(old)
			w.leave(old)
			s.SocketEvent(bpf.Event{Kind: bpf.EventEmpty, Site: s.ID, Replica: old})
			pass(20 * time.Second)
			if !slices.Contains(w.ids(), old) {
				t.Fatal("a flow lives, and the old replica has gone with its last connection")
			}
			pass(15 * time.Second)
			if ids := w.ids(); !slices.Equal(ids, []bpf.ReplicaID{next}) {
				t.Errorf("the flow is over: the replicas are %v", ids)
			}
		})
	})
	t.Run("for ever", func(t *testing.T) {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			old, next := circulated(t, w, d, s)
			for range 26 {
				if slices.Contains(w.ids(), old) {
					w.datagram(old)
				}
				pass(25 * time.Second)
			}
			if ids := w.ids(); !slices.Equal(ids, []bpf.ReplicaID{next}) {
				t.Errorf("after circulate.drain the replicas are %v", ids)
			}
		})
	})
}
