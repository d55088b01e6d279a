package priority

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRationed: who has used up the allowance goes on as all others, and first again after a while.
func TestRationed(t *testing.T) {
	var a Allowance
	ran := make(chan bool, 10)
	r := &Rationed{allowance: &a, realtime: true, run: func(first bool) error { ran <- first; return nil }}
	a.Left(bpf.Now())
	r.spend(time.Microsecond)
	if len(ran) != 0 {
		t.Error("there is enough, and it does not go first any more")
	}
	r.spend(time.Microsecond + time.Hour)
	if first := testutil.Receive(t, time.Minute, "it to go as all others", ran); first {
		t.Error("there is nothing left, and it goes first")
	}
	left := a.left
	r.spend(2 * time.Hour)
	if a.left != left {
		t.Error("what it uses as all others is taken off the allowance")
	}
	if first := testutil.Receive(t, time.Minute, "it to go first again", ran); !first {
		t.Error("after a while it goes as all others once more")
	}
	r.spend(2*time.Hour + time.Microsecond)
	if first := testutil.Receive(t, time.Minute, "it to go as all others again", ran); first {
		t.Error("the allowance has to make up for an hour, and it goes first")
	}
}

// TestRationedEnds: nobody changes a thread that has ended.
func TestRationedEnds(t *testing.T) {
	var a Allowance
	a.Left(bpf.Now())
	touched := 0
	r := &Rationed{allowance: &a, realtime: true, run: func(bool) error { touched++; return nil }}
	r.spend(time.Hour)
	r.End()
	r.promote() // its timer had fired already
	if touched != 1 {
		t.Errorf("its priority was changed %d times, want once, before its end", touched)
	}
	r.End()
}

// TestRationedThatMayNot: whom the kernel does not let go is left as it is, and tried again.
func TestRationedThatMayNot(t *testing.T) {
	var a Allowance
	a.Left(bpf.Now())
	r := &Rationed{allowance: &a, realtime: true, run: func(bool) error { return errors.New("refused") }}
	defer r.End()
	r.spend(time.Hour)
	if !r.realtime || r.timer != nil {
		t.Error("it is believed to go as all others")
	}
}

// TestThreadTime is that of the calling thread alone, and grows while it runs.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	for threadTime() == before {
	}
	if now := threadTime(); now < before {
		t.Errorf("%s, then %s", before, now)
	}
}

// TestRealtimeIsNotInherited: whichever the kernel grants, what the thread starts is as all others.
func TestRealtimeIsNotInherited(t *testing.T) {
	for _, way := range realtimePolicies {
		if way.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
			t.Errorf("%+v is inherited by what the thread starts", way)
		}
	}
}
