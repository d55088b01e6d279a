package priority

import (
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/fcnode/fcnode/tests/testutil"
)

// childsAttr is how the kernel runs a process that the calling thread starts.
func childsAttr() (policy, nice int, err error) {
	stat, err := exec.Command("cat", "/proc/self/stat").Output()
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from the third on (proc_pid_stat(5)): the nice value is the 19th, the policy the 41st
	if nice, err = strconv.Atoi(fields[19-3]); err != nil {
		return 0, 0, err
	}
	policy, err = strconv.Atoi(fields[41-3])
	return policy, nice, err
}

// TestRootRealtimePolicies: each of the ways, were it the only one that the kernel grants, holds for the thread, and for nothing that it
// starts; and there is a way back.
func TestRootRealtimePolicies(t *testing.T) {
	testutil.Privileged(t)
	for i, way := range realtimePolicies {
		err := thread.Throwaway(func() error {
			if err := promote(0, realtimePolicies[i:]); err != nil {
				return err
			}
			got, err := unix.SchedGetAttr(0, 0)
			if err != nil {
				return err
			}
			if got.Policy != way.Policy || got.Priority != way.Priority || got.Nice != way.Nice {
				return fmt.Errorf("the thread is run as %+v", got)
			}
			policy, nice, err := childsAttr()
			if err != nil {
				return err
			}
			if policy != unix.SCHED_NORMAL || nice != 0 {
				return fmt.Errorf("what the thread starts is run by policy %d, with the nice value %d", policy, nice)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%+v: %v", way, err)
		}
	}
}

// TestRootRationedThread: a thread that has used up the allowance is one like all others, and goes first again when it has come back.
func TestRootRationedThread(t *testing.T) {
	testutil.Privileged(t)
	threads := Threads{Log: slog.New(slog.DiscardHandler)}
	threads.Allowance.Left(bpf.Now()) // as after any event
	const none = 1 << 30
	policies := [2]uint32{none, none} // at the start, and with nothing left
	tids, used, ended := make(chan int, 1), make(chan struct{}), make(chan error, 1)
	finish := sync.OnceFunc(func() { close(used) })
	defer finish()
	go func() {
		ended <- thread.Throwaway(func() error {
			r := threads.PromoteRationed()
			defer r.End()
			run := r.run
			r.run = func(first bool) error { // looks at once, before it is given back
				err := run(first)
				if a, bad := unix.SchedGetAttr(0, 0); !first && bad == nil {
					policies[1] = a.Policy
				}
				return err
			}
			if a, err := unix.SchedGetAttr(0, 0); err == nil {
				policies[0] = a.Policy
			}
			r.spend(threadTime() + 2*realtimeBurst)
			tids <- unix.Gettid()
			<-used // waits, as for the next packet
			return nil
		})
	}()
	tid := testutil.Receive(t, time.Minute, "the thread", tids)
	testutil.WaitFor(t, time.Minute, "the thread to go first again", func() error {
		a, err := unix.SchedGetAttr(tid, 0)
		if err == nil && a.Policy != unix.SCHED_RR {
			err = fmt.Errorf("it is run by policy %d", a.Policy)
		}
		return err
	})
	if want := [2]uint32{unix.SCHED_RR, unix.SCHED_NORMAL}; policies != want {
		t.Errorf("it was run by the policies %v, want %v", policies, want)
	}
	finish()
	if err := testutil.Receive(t, time.Minute, "its end", ended); err != nil {
		t.Error(err)
	}
}
