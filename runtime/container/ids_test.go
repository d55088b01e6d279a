package container

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
)

// TestIDs: each range is given once, those that may send pings first, and none
// beyond the last.
func TestIDs(t *testing.T) {
	if end := uint64(firstIDs) + idRanges*wire.IDCount; end > 1<<32-1 || end+wire.IDCount <= 1<<32-1 {
		t.Errorf("the ranges end at %d", end)
	}
	const count = pingRanges + 10
	all := newIDs(count)
	given := map[wire.IDs]bool{}
	for n := range count {
		one, err := all.take()
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(one) + wire.IDCount - 1
		if given[one] || one < firstIDs || one%wire.IDCount != 0 || last >= 1<<32-1 {
			t.Fatalf("range %d of %d is not one of its own", one, n)
		}
		if pings := last < 1<<31; pings != (n < pingRanges) {
			t.Fatalf("range %d is given as number %d", one, n)
		}
		given[one] = true
	}
	if one, err := all.take(); err == nil || !strings.Contains(err.Error(), "all 4106 ranges") {
		t.Errorf("one more: %d %v", one, err)
	}
	for one := range given {
		all.giveBack(one)
		if again, err := all.take(); err != nil || again != one {
			t.Errorf("%d was given back, and %d is given, %v", one, again, err)
		}
		break
	}
	few := newIDs(2)
	few.mark(0) // of a container without
	few.mark(firstIDs)
	if one, err := few.take(); err != nil || one != firstIDs+wire.IDCount {
		t.Errorf("beside one that was found: %d %v", one, err)
	}
	if one, err := few.take(); err == nil {
		t.Errorf("a third of two: %d", one)
	}
}
