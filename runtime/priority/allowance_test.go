package priority

import (
	"testing"
	"time"
)

// TestAllowance: what goes before others may take a part of the time, and no more of a long pause than a moment.
func TestAllowance(t *testing.T) {
	var a Allowance
	now := uint64(5e9)
	if !a.Left(now) {
		t.Error("nothing at the start")
	}
	a.Spend(realtimeBurst - 1)
	if !a.Left(now) {
		t.Error("nothing though a little is left")
	}
	a.Spend(time.Millisecond)
	if a.Left(now) {
		t.Error("more than was allowed at once")
	}
	if now += 4e6; a.Left(now) {
		t.Error("too soon again")
	}
	if now += 2e6; !a.Left(now) {
		t.Errorf("a millisecond does not come back within %s", time.Duration(1/realtimeShare)*time.Millisecond)
	}
	a.Left(now + 3600e9)
	a.Spend(realtimeBurst)
	if a.Left(now + 3600e9) {
		t.Error("an hour's pause is more than a moment's worth")
	}
	if a.Left(now) {
		t.Error("a clock that goes back gives something")
	}
}
