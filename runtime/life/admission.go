package life

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
)

// admissionLook is how often a start that waits for memory looks for some.
const admissionLook = 50 * time.Millisecond

// Admission lets starts in as far as there is memory for them, by what their sites have
// held before. Where it lacks, those who sleep make room, who was idle for the longest
// first; where they cannot, and nobody else is about to start or to sleep, the start is
// refused: its visitors learn at once what they would learn from the kernel's killer of
// processes later, and nobody else is killed for them.
type Admission struct {
	host *Host
	left func() (policy.MemoryLeft, error)
	busy func() string // see lacks: why, but for memory

	mu       sync.Mutex
	promised float64 // to those who start, in bytes
	starting int
	told     bool // that nobody knows what is left

	evicting sync.Mutex
	evicted  time.Time // when those who sleep were asked last
	making   bool      // and whether they make room

	refused atomic.Uint64
}

// mostShare is the part of all memory that is asked for a start at most: what a site has held before it does not
// take at once, and if it has ever held nearly all it would never start again.
const mostShare = 0.5

// NewAdmission is that of a host.
func NewAdmission(h *Host, left func() (policy.MemoryLeft, error)) *Admission {
	return &Admission{host: h, left: left, busy: h.busy}
}

// Refused is how many starts were refused so far.
func (a *Admission) Refused() uint64 { return a.refused.Load() }

// enter waits until there is memory for a start of the site, for so long at most, or says
// why there is none. holds is what the replica has of it already, in bytes. When the start is
// over, and what it takes can be read as taken, leave is called.
func (a *Admission) enter(ctx context.Context, st *Site, s *spec.Site, holds uint64, within time.Duration) (leave func(), err error) {
	need := max(0, a.need(st, s)-float64(holds))
	deadline := time.Now().Add(within)
	for last := false; ; {
		asked, lacks, others := a.take(need, last)
		if lacks <= 0 {
			return sync.OnceFunc(func() { a.give(asked) }), nil
		}
		if last {
			a.refused.Add(1)
			return nil, fmt.Errorf("the node has no memory for it: it takes about %s, of which %s are lacking, and those who sleep can give no more back",
				sizeOf(uint64(asked)), sizeOf(uint64(lacks)))
		}
		making := a.makeRoom(lacks, fmt.Sprintf("%s is to start, for which %s of memory are lacking", st.Name, sizeOf(uint64(lacks))))
		if last = !making && !others || time.Now().After(deadline); last {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(admissionLook):
		}
	}
}

// makeRoom sends those deeper who sleep, and says whether any of them is on his way. However
// many wait, they are asked once in a while.
func (a *Admission) makeRoom(lacks float64, why string) bool {
	a.evicting.Lock()
	defer a.evicting.Unlock()
	if now := time.Now(); now.Sub(a.evicted) >= admissionLook {
		a.evicted = now
		a.making = a.host.Budget.evict(lacks, why)
	}
	return a.making
}

// need is what a replica of the site will hold, in bytes, as measured or assumed; never more than it may.
func (a *Admission) need(st *Site, s *spec.Site) (need float64) {
	WithLearnt(st, func(_ *Live, x *policy.Experience) { need = needOf(a.host.Input(s, x)) })
	return need
}

func needOf(in policy.Input) float64 {
	need := in.Holds(detect.TierRunning)
	if most := in.Spec.Limits.Memory.Max; most > 0 {
		need = min(need, float64(most))
	}
	return need
}

// lacks says why a site for which no visitor waits is not started now; empty: it may be. There has to be twice the memory that it
// takes, so that no sleeping site is sent deeper for it, and no visitor's start waits.
func (a *Admission) lacks(in policy.Input) string {
	if why := a.busy(); why != "" {
		return why
	}
	need := needOf(in)
	a.mu.Lock()
	defer a.mu.Unlock()
	left, err := a.left()
	if err != nil {
		return "how much memory is left is not known"
	}
	holds, _ := a.host.Budget.State()
	budget := float64(a.host.Cfg.Memory.Sites)
	if 2*need+a.promised > left.Memory || budget > 0 && float64(holds)+2*need > evictAbove*budget {
		return "there is too little memory for starts that nobody waits for"
	}
	return ""
}

// take promises memory to a start, of swap, too, if there is no other way; or it says how much
// is lacking, and whether others are about to start. asked is what the start needs, at most mostShare of all.
func (a *Admission) take(need float64, swap bool) (asked, lacks float64, others bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left, err := a.left()
	if err != nil && !a.told {
		a.host.Log.Error("how much memory is left is not known, so sites start whether there is some or not", "error", err)
	}
	a.told = err != nil
	if err == nil {
		need = min(need, mostShare*left.Total)
		lacks = need + a.promised - left.Memory
		if swap {
			lacks -= left.Swap
		}
	}
	if lacks > 0 {
		return need, lacks, a.starting > 0
	}
	a.promised += need
	a.starting++
	return need, 0, false
}

func (a *Admission) give(asked float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.starting--
	if a.promised -= asked; a.starting == 0 {
		a.promised = 0 // whatever the sums of fractions are
	}
}
