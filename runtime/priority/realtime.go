package priority

import (
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
)

// lowestRealtime is the lowest of the real-time priorities (sched(7)).
const lowestRealtime = 1

// realtimePolicies lists scheduling policies to try, best first. The kernel
// refuses the first one without CAP_SYS_NICE, and where it rations real-time by
// cgroup (CONFIG_RT_GROUP_SCHED) and our cgroup has none. Threads and processes
// that such a thread starts are ordinary ones.
var realtimePolicies = []unix.SchedAttr{
	{Policy: unix.SCHED_RR, Priority: lowestRealtime, Flags: unix.SCHED_FLAG_RESET_ON_FORK},
	{Policy: unix.SCHED_NORMAL, Nice: -20, Flags: unix.SCHED_FLAG_RESET_ON_FORK},
}

// promote sets the first policy that the kernel grants to the thread; tid 0 is
// the calling thread.
func promote(tid int, policies []unix.SchedAttr) error {
	var err error
	for _, policy := range policies {
		if err = unix.SchedSetAttr(tid, &policy, 0); err == nil {
			return nil
		}
	}
	return err
}

// Threads makes real-time threads. They share one allowance of processor time.
type Threads struct {
	Log       *slog.Logger
	Allowance Allowance

	refused sync.Once // the refusal is logged once
}

// Promote binds the calling goroutine to a real-time thread of its own, which
// ends with the goroutine.
func (t *Threads) Promote() {
	runtime.LockOSThread()
	if err := promote(0, realtimePolicies); err != nil {
		t.refused.Do(func() {
			t.Log.Warn("the kernel gives the daemon no real-time priority: on a busy machine sites wake and scale later", "error", err)
		})
	}
}

// demotedFor is how long a thread that has used up the allowance runs at
// ordinary priority: half of the burst comes back meanwhile.
const demotedFor = time.Duration(float64(realtimeBurst) / 2 / realtimeShare)

// Rationed is a real-time thread whose work nobody else can do: while the
// allowance is used up it goes on at ordinary priority.
type Rationed struct {
	allowance *Allowance
	run       func(realtime bool) error // sets the thread's priority; any thread may call it
	used      time.Duration             // processor time, as last accounted

	mu       sync.Mutex
	realtime bool
	over     bool
	timer    *time.Timer
}

// PromoteRationed is Promote with a ration. Call Account after each piece of
// work and End when the thread's work is over.
func (t *Threads) PromoteRationed() *Rationed {
	runtime.LockOSThread()
	tid, was := unix.Gettid(), unix.SchedAttr{}
	if now, err := unix.SchedGetAttr(0, 0); err == nil { // as it does for each thread
		was = *now
	}
	was.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
	t.Promote()
	return &Rationed{allowance: &t.Allowance, used: threadTime(), realtime: true, run: func(realtime bool) error {
		if realtime {
			return promote(tid, realtimePolicies)
		}
		return unix.SchedSetAttr(tid, &was, 0)
	}}
}

// Account charges the allowance with the processor time that the calling
// thread has used since the last call.
func (r *Rationed) Account() { r.spend(threadTime()) }

func (r *Rationed) spend(used time.Duration) {
	spent := used - r.used
	r.used = used
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.realtime {
		return
	}
	r.allowance.Spend(spent)
	if r.allowance.Left(bpf.Now()) || r.run(false) != nil {
		return
	}
	r.realtime = false
	r.timer = time.AfterFunc(demotedFor, r.promote)
}

// promote runs on another thread: this one may be blocked in a read.
func (r *Rationed) promote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.run(true) == nil {
		r.realtime = true
	}
}

// End stops all changes to the thread: its number may soon be another
// thread's.
func (r *Rationed) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// threadTime is the processor time that the calling thread has used.
func threadTime() time.Duration {
	var ts unix.Timespec
	// cannot fail: the clock exists and the pointer is good
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
