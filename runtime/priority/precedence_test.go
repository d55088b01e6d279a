package priority

import (
	"testing"
	"testing/synctest"
	"time"
)

// yielding starts a yield and says how long it took when it is over.
func yielding(p *Precedence, hurry <-chan struct{}) <-chan time.Duration {
	done := make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		p.Yield(hurry)
		done <- time.Since(begin)
	}()
	return done
}

func isDone(done <-chan time.Duration) bool {
	synctest.Wait()
	return len(done) == 1
}

// TestWakesGoFirst: the times are those of synctest's clock.
func TestWakesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Precedence{}
		if done := yielding(p, nil); !isDone(done) {
			t.Fatal("work waits though nobody is being woken")
		}
		first, second := p.Begin(), p.Begin()
		done := yielding(p, nil)
		first()
		first() // again is fine
		if isDone(done) {
			t.Fatal("work went on while the second wake was under way")
		}
		second()
		if !isDone(done) {
			t.Fatal("work still waits after the last wake")
		}
		third := p.Begin()
		if done := yielding(p, nil); isDone(done) {
			t.Fatal("work did not wait for a wake that came later")
		}
		third()
	})
}

func TestYieldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Precedence{}
		stop := make(chan struct{})
		go func() { // there is always a wake under way
			for end := p.Begin(); ; {
				select {
				case <-stop:
					end()
					return
				case <-time.After(10 * time.Millisecond):
					next := p.Begin()
					end()
					end = next
				}
			}
		}()
		synctest.Wait()
		if took := <-yielding(p, nil); took != yieldAtMost {
			t.Errorf("work waited %v for wakes, want %v", took, yieldAtMost)
		}
		close(stop)
		synctest.Wait()
	})
}

func TestYieldEndsInAHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Precedence{}
		defer p.Begin()()
		hurry := make(chan struct{})
		done := yielding(p, hurry)
		if isDone(done) {
			t.Fatal("work did not wait for the wake")
		}
		close(hurry)
		if !isDone(done) || <-done != 0 {
			t.Error("work still waits though somebody waits for it")
		}
		begin := time.Now()
		if p.Later(hurry); time.Since(begin) != 0 {
			t.Error("work that is due later waits though there is a hurry")
		}
	})
}

// TestWakeWithoutEnd: an application that never answers does not hold up the
// rest of the node.
func TestWakeWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Precedence{}
		end := p.Begin()
		<-time.After(Patience) // of the same clock
		if done := yielding(p, nil); !isDone(done) {
			t.Error("a wake that takes for ever still goes first")
		}
		end()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.under != 0 {
			t.Errorf("%d wakes are under way after the end of the only one", p.under)
		}
	})
}
