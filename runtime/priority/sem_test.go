package priority

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestSem: no more are taken at a time than there are, and each gets them.
func TestSem(t *testing.T) {
	b, err := NewSem(0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Give()
	var users sync.WaitGroup
	var inside, turns atomic.Int32
	for range 4 {
		users.Go(func() {
			for range 500 {
				b.Take()
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have it", n)
				}
				turns.Add(1)
				inside.Add(-1)
				b.Give()
			}
		})
	}
	users.Wait()
	if turns.Load() != 4*500 {
		t.Errorf("%d turns", turns.Load())
	}
}
