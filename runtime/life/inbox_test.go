package life

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/guard"
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

// TestDroppedWithoutTheLock: while the files of a checkpoint that was dropped are removed, which waits for the disk, others have the site's lock; once With
// returns they are gone, whether f has returned or panicked.
func TestDroppedWithoutTheLock(t *testing.T) {
	inWorld(t, "idle: 5m, tiers: [cold]", func(t *testing.T, _ *world, d *daemon, a *Site) {
		dir := d.checkpointDir(a.Name)
		drop := func(f func(*Live)) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			a.With(func(l *Live) { l.Image = true })
			_ = guard.Run(func() { a.With(f) })
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after With the checkpoint is there: %v", err)
			}
		}
		drop(func(l *Live) { l.DropSleep("tried") })
		a.mu.Lock()
		a.live.drop = true
		unlock(a, func(_ *Host, name string) {
			if !a.tryWith(func(*Live) {}) {
				t.Error("the lock is held while files are removed")
			}
			if name != a.Name {
				t.Errorf("%s is removed", name)
			}
		})
		a.With(func(l *Live) {
			if l.drop {
				t.Error("what is removed is to be removed again")
			}
		})
		drop(func(l *Live) {
			l.DropSleep("tried")
			panic("tried")
		})
	})
}
