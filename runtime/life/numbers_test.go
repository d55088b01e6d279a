package life

import (
	"errors"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestNumbersWithoutDisk: wakes get numbers while the disk stands still or fails, and none of these is given again when it works.
func TestNumbersWithoutDisk(t *testing.T) {
	const block = 4096
	used := uint32(0)
	asked, answer := make(chan struct{}), make(chan error)
	lost := 0
	done := make(chan struct{}, 1)
	n := &Numbers{
		Take: func() (first, last uint32, err error) {
			asked <- struct{}{}
			if err := <-answer; err != nil {
				return 0, 0, err
			}
			first, used = used+1, used+block
			return first, used, nil
		},
		Go:   func(f func()) { go func() { f(); done <- struct{}{} }() },
		Lost: func(error) { lost++ },
	}
	const limit = 10 * time.Second
	go func() { n.Reserve(); done <- struct{}{} }()
	testutil.Receive(t, limit, "the first block", asked)
	answer <- nil
	testutil.Receive(t, limit, "the first block", done)

	seen := map[uint32]bool{}
	give := func(count int) (last uint32) {
		t.Helper()
		for range count {
			last = n.Next()
			if seen[last] || last == 0 {
				t.Fatalf("number %d is given twice", last)
			}
			seen[last] = true
		}
		return last
	}
	give(block) // takes the next block on its way, and the disk stands still
	testutil.Receive(t, limit, "the second block", asked)
	if last := give(2 * block); last != 3*block {
		t.Errorf("without a disk the last number is %d", last)
	}
	answer <- errors.New("it is broken")
	testutil.Receive(t, limit, "its end", done)
	if give(1); lost != 1 {
		t.Errorf("%d errors are told", lost)
	}
	for range 3 { // it works again, and begins where it was
		testutil.Receive(t, limit, "another block", asked)
		answer <- nil
		testutil.Receive(t, limit, "another block", done)
		give(1)
	}
	if give(block / 4); used != 4*block {
		t.Errorf("%d numbers are reserved", used)
	}
}
