package life

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// TestRangeHoldsForItsPort: who is held for a port of a range is let in when somebody listens on just that; where nobody does the whole range
// is given up when its time of grace is over, and its replica refuses.
func TestRangeHoldsForItsPort(t *testing.T) {
	const specs = "ports: [75-85/tcp, 5000-5100/udp], idle: 1h" // visitors come to 80
	opens := func(d *daemon, s *Site, id bpf.ReplicaID, port uint16) {
		d.w.mu.Lock()
		r := d.w.replicas[id]
		if r.open == nil {
			r.open = map[uint16]bool{}
		}
		r.open[port] = true
		d.w.mu.Unlock()
		d.listen(s, id)
	}
	t.Run("opened", func(t *testing.T) {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			d.visit(s)
			id := w.ids()[0]
			opens(d, s, id, 75)
			if released, refused := w.counts(); released != 0 || refused != 0 {
				t.Fatalf("nobody listens on port 80: %d let in, %d refused", released, refused)
			}
			opens(d, s, id, 80)
			if released, _ := w.counts(); released != 1 {
				t.Fatalf("port 80 is listened on: %d let in", released)
			}
		})
	})
	t.Run("given up", func(t *testing.T) {
		inWorld(t, specs, func(t *testing.T, w *world, d *daemon, s *Site) {
			d.visit(s)
			id := w.ids()[0]
			opens(d, s, id, 75)
			pass(10 * time.Second)
			w.mu.Lock()
			set := w.sites[s.ID]
			w.mu.Unlock()
			if released, _ := w.counts(); released != 1 || len(set.Replicas) != 1 || set.Replicas[0].Forced != 3 {
				t.Fatalf("after its time of grace %d were let in; the data path has %+v", released, set)
			}
			w.mu.Lock()
			w.replicas[id].stats.Ready4 = 0 // all are closed: an FTP server between two transfers
			w.mu.Unlock()
			s.SocketEvent(bpf.Event{Kind: bpf.EventReady, Site: s.ID, Replica: id, Time: w.now()})
			synctest.Wait()
			w.mu.Lock()
			set = w.sites[s.ID]
			w.mu.Unlock()
			if set.Replicas[0].Forced != 3 {
				t.Errorf("a port was closed, and the data path has %+v", set)
			}
		})
	})
}

// TestRangeListeners: each port of a range, on each address, is a listener; the range has one bit.
func TestRangeListeners(t *testing.T) {
	s := &Site{ID: 7, Addr4: netip.MustParseAddr("10.77.0.2"), Addr6: netip.MustParseAddr("fd77:fc::2")}
	s.Ports = parseLife(t, "ports: [80/tcp, 65533-65535/udp]").Ports
	ls := s.Listeners()
	if len(ls) != 8 {
		t.Errorf("%d listeners: %v", len(ls), ls)
	}
	for l, want := range map[bpf.Listener]bpf.ListenerSite{
		{Addr: s.Addr4, Port: 80, Proto: bpf.TCP}:    {Site: 7},
		{Addr: s.Addr6, Port: 65533, Proto: bpf.UDP}: {Site: 7, PortBit: 1, Range: true},
		{Addr: s.Addr4, Port: 65535, Proto: bpf.UDP}: {Site: 7, PortBit: 1, Range: true},
	} {
		if got, ok := ls[l]; !ok || got != want {
			t.Errorf("%s: %+v, want %+v", l, got, want)
		}
	}
}
