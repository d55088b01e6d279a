package life

import (
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/site"
)

// TestStuckSiteHoldsNobody: whoever reads the kernel's rings goes on while something of one site waits for a disk, with that site's lock held: another site
// wakes. What was told of the first meanwhile is done afterwards, in its order.
func TestStuckSiteHoldsNobody(t *testing.T) {
	const specs = "idle: 5m, tiers: [cold]"
	inWorld(t, specs, func(t *testing.T, w *world, d *daemon, a *Site) {
		b := d.neighbour(t, specs)
		stuck, disk := make(chan struct{}), make(chan struct{})
		go a.With(func(*Live) {
			close(stuck)
			<-disk
		})
		<-stuck
		packet := func(s *Site) {
			d.Held(bpf.HeldPacket{Site: s.ID, Client: netip.MustParseAddrPort("203.0.113.9:52114"), VIP: netip.AddrPortFrom(s.Addr4, 80), Proto: bpf.TCP, Time: w.now()})
		}
		var order []int
		for i := range 3 {
			d.inbox.post(a, func(*Live) { order = append(order, i) })
		}
		packet(a)
		packet(a)
		a.SocketEvent(bpf.Event{Kind: bpf.EventReady, Site: a.ID, Replica: 99, Time: w.now()}) // of nobody any more
		packet(b)
		for d.phase(b) != site.Waking { // somebody else reads its spec; else the test does not end
			runtime.Gosched()
		}
		if len(order) != 0 {
			t.Error("something was done without the lock")
		}
		close(disk)
		synctest.Wait()
		if got := d.phase(a); got != site.Waking || len(order) != 3 || order[0] != 0 || order[2] != 2 {
			t.Errorf("the site that was stuck is %s, in the order %v", got, order)
		}
		d.inbox.post(a, func(*Live) { order = nil })
		if order != nil {
			t.Error("what is posted to a site that nobody holds is not done at once")
		}
	})
}
