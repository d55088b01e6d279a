package container

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestPoolYields: a runner is made ahead when that disturbs nobody, who needs one
// meanwhile does not wait, and no more are made than there is room for.
func TestPoolYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int32
		calm := make(chan struct{})
		p := newPool(1, func() (*slot, error) {
			made.Add(1)
			return &slot{ended: make(chan struct{})}, nil
		}, func(hurry <-chan struct{}) {
			select {
			case <-calm:
			case <-hurry:
			}
		}, slog.New(slog.DiscardHandler))
		p.refill()
		synctest.Wait()
		if n := made.Load(); n != 0 {
			t.Fatalf("%d runners were made ahead while others went first", n)
		}
		if _, err := p.take(); err != nil || made.Load() != 1 {
			t.Fatalf("%d runners were made for who needs one: %v", made.Load(), err)
		}
		p.refill() // one that yields is there already
		p.refillSoon()
		synctest.Wait()
		close(calm)
		p.wg.Wait()
		if n := made.Load(); n != 2 || len(p.slots) != 1 {
			t.Errorf("%d runners were made, %d wait; want 2 and 1", n, len(p.slots))
		}
		p.slots = nil // they have no processes
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
}

// TestPoolYieldsNotAtItsEnd: the daemon's end does not wait for wakes.
func TestPoolYieldsNotAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, func() (*slot, error) {
			t.Error("a runner was made by a closed pool")
			return &slot{ended: make(chan struct{})}, nil
		}, func(hurry <-chan struct{}) { <-hurry }, slog.New(slog.DiscardHandler))
		p.refill()
		synctest.Wait()
		if err := p.close(); err != nil { // it waits for the refill
			t.Error(err)
		}
	})
}
