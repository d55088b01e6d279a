package node

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
)

// urgentPriority is the least of those that go before all others (sched(7)).
const urgentPriority = 1

// before are the ways in which the kernel runs a thread before others, the best first. It refuses the first to who may not, and
// where it rations such time by cgroups (CONFIG_RT_GROUP_SCHED) and has none for us. Threads and
// processes that the thread starts are as all others.
var before = []unix.SchedAttr{
	{Policy: unix.SCHED_RR, Priority: urgentPriority, Flags: unix.SCHED_FLAG_RESET_ON_FORK},
	{Policy: unix.SCHED_NORMAL, Nice: -20, Flags: unix.SCHED_FLAG_RESET_ON_FORK},
}

// runBefore has the kernel run a thread before others, by the first of the ways that it grants; 0 is the calling one.
func runBefore(tid int, ways []unix.SchedAttr) error {
	var err error
	for _, way := range ways {
		if err = unix.SchedSetAttr(tid, &way, 0); err == nil {
			return nil
		}
	}
	return err
}

// goFirst has the kernel run the calling goroutine before others: on a thread of its own, which ends with it.
func (n *Node) goFirst() {
	runtime.LockOSThread()
	if err := runBefore(0, before); err != nil {
		n.notFirst.Do(func() {
			n.log.Warn("the kernel does not run the daemon before others: on a busy machine sites are woken and scaled later", "error", err)
		})
	}
}

// again is how long a thread that has used up the allowance goes on as all others: half of the burst comes back.
const again = time.Duration(float64(urgentBurst) / 2 / urgentShare)

// rationed is a thread that goes first, but as all others while nothing is left of the allowance: what it reads has to be done,
// by whomever.
type rationed struct {
	allowance *allowance
	run       func(first bool) error // has the kernel run it so; for any thread to call
	used      time.Duration          // of the processor, as last accounted

	mu    sync.Mutex
	first bool
	over  bool
	timer *time.Timer
}

// goFirstRationed is goFirst for who cannot leave work to others. account is to be called after each piece of it, end at the
// end.
func (n *Node) goFirstRationed() *rationed {
	runtime.LockOSThread()
	tid, was := unix.Gettid(), unix.SchedAttr{}
	if now, err := unix.SchedGetAttr(0, 0); err == nil { // as it does for each thread
		was = *now
	}
	was.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
	n.goFirst()
	return &rationed{allowance: &n.allowance, used: threadTime(), first: true, run: func(first bool) error {
		if first {
			return runBefore(tid, before)
		}
		return unix.SchedSetAttr(tid, &was, 0)
	}}
}

// account takes what the calling thread has used of the processor by now off the allowance.
func (r *rationed) account() { r.spend(threadTime()) }

func (r *rationed) spend(used time.Duration) {
	spent := used - r.used
	r.used = used
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.first {
		return
	}
	r.allowance.spend(spent)
	if r.allowance.some(bpf.Now()) || r.run(false) != nil {
		return
	}
	r.first = false
	r.timer = time.AfterFunc(again, r.goAgain)
}

// goAgain is called by another thread: this one may be waiting for what it is to do first.
func (r *rationed) goAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.run(true) == nil {
		r.first = true
	}
}

// end lets nobody touch the thread any more: its number may soon be another's.
func (r *rationed) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// threadTime is what the calling thread has used of the processors.
func threadTime() time.Duration {
	var ts unix.Timespec
	// cannot fail: the clock exists and the pointer is good
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
