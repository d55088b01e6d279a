package life

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// BudgetLook is how often is read what all sites hold.
const BudgetLook = time.Second

const (
	// evictAbove is the share of the budget above which sites are sent away: what is left is
	// for those that wake until the next look, which wait for nothing.
	evictAbove = 0.95
	// evictAtOnce is how many may be on their way at a time: each keeps a processor or a
	// disk busy, of which wakes have need.
	evictAtOnce = 8
)

// Budget keeps what all sites hold within memory.sites of the configuration. Its price of
// memory makes plans fit; who is sent away before his time is the exception. Look is called by
// one goroutine.
type Budget struct {
	host *Host
	used func() (uint64, error) // what all sites hold, in bytes
	last time.Time
	told bool // that it cannot be kept

	turn sync.Mutex // of who sends sites away

	holds, evicted atomic.Uint64
}

// NewBudget is that of a host. used tells what all sites hold, in bytes.
func NewBudget(h *Host, used func() (uint64, error)) *Budget { return &Budget{host: h, used: used} }

// Look reads what all sites hold, moves the price of memory, and sends sites away that nobody
// uses if they hold too much.
func (b *Budget) Look() {
	limit := float64(b.host.Cfg.Memory.Sites)
	if limit == 0 {
		return
	}
	used, err := b.used()
	if err != nil {
		b.fails("what all sites hold is not known, so memory.sites is not kept", "error", err)
		return
	}
	b.holds.Store(used)
	over := float64(used) - evictAbove*limit
	now := time.Now()
	if !b.last.IsZero() {
		needed := float64(used)
		if over > 0 { // without those who are sent away it would be all
			needed = max(needed, limit)
		}
		b.host.Plans.Pressed(min(now.Sub(b.last), time.Minute), needed)
	}
	b.last = now
	switch {
	case over <= 0:
		b.told = false
	case b.evict(over, fmt.Sprintf("all sites may hold %s (memory.sites)", b.host.Cfg.Memory.Sites)) || float64(used) <= limit:
	default:
		b.fails("all sites hold more than memory.sites, and none of them can sleep deeper", "holds", spec.Bytes(used).String())
	}
}

// fails tells once that the budget is not kept.
func (b *Budget) fails(what string, args ...any) {
	if !b.told {
		b.told = true
		b.host.Log.Error(what, args...)
	}
}

// State is what all sites hold, in bytes, and how many were sent away so far.
func (b *Budget) State() (holds, evicted uint64) { return b.holds.Load(), b.evicted.Load() }

// evictee is a replica that may be sent away.
type evictee struct {
	st   *Site
	id   site.ReplicaID
	tier detect.Tier
	idle time.Duration
}

// evict sends those deeper who sleep, who was idle for the longest first, until so many bytes come free: to the tier reclaimed
// at first, and only when all are there to one without processes. It reports whether somebody is on his way.
func (b *Budget) evict(over float64, why string) bool {
	if !b.host.Has("memory") { // what each holds is not known
		return false
	}
	b.turn.Lock()
	defer b.turn.Unlock()
	var all []evictee
	under := 0
	for _, st := range b.host.Awake.All() {
		b.host.each(st, func(l *Live) {
			for id, r := range evictable(l) {
				m, _ := l.Machine.Replica(id)
				switch {
				case r.descent != nil && r.descent.tier == detect.TierFrozen: // that gives nothing back
				case r.descent != nil || r.stopping:
					under++
					over -= leaves(l, r)
				case m.State == site.Asleep:
					all = append(all, evictee{st, id, m.Tier, l.Use(id).Idle})
				}
			}
		})
	}
	slices.SortFunc(all, func(x, y evictee) int {
		deep := func(e evictee) int { return max(0, e.tier.Depth()-detect.TierFrozen.Depth()) }
		return cmp.Or(deep(x)-deep(y), cmp.Compare(y.idle, x.idle))
	})
	for _, e := range all {
		if over <= 0 || under >= evictAtOnce {
			break
		}
		b.host.each(e.st, func(l *Live) {
			freed := e.evict(l, why)
			if freed > 0 {
				over -= freed
				under++
				b.evicted.Add(1)
			}
		})
	}
	return under > 0
}

// evictable are the site's replicas that the budget may send away, or that are on their
// way already.
func evictable(l *Live) map[site.ReplicaID]*Replica {
	if l.Activity == nil || l.gone || l.fault != nil || l.pause != nil {
		return nil
	}
	out := map[site.ReplicaID]*Replica{}
	for id, r := range l.Replicas {
		if m, ok := l.Machine.Replica(id); ok && !m.Spare() && r.Ctr != nil && r.gate == nil {
			out[id] = r
		}
	}
	return out
}

// leaves is what a replica gives back that is on its way.
func leaves(l *Live, r *Replica) float64 {
	holds, err := r.Ctr.Group().MemoryCurrent()
	if err != nil {
		return 0
	}
	if r.descent == nil || r.descent.tier != detect.TierReclaimed {
		return float64(holds)
	}
	return max(0, float64(holds)-l.Host.Input(l.Spec, l.experience).Holds(detect.TierReclaimed))
}

// evict sends one away, and gives what that frees; 0: it stays.
func (e evictee) evict(l *Live, why string) float64 {
	r := evictable(l)[e.id]
	if r == nil || r.descent != nil || r.stopping {
		return 0
	}
	holds, err := r.Ctr.Group().MemoryCurrent()
	if err != nil {
		l.Host.Log.Error("cannot tell what a replica holds", "replica", r.Name, "error", err)
		return 0
	}
	tier, then, ok := l.Host.Input(l.Spec, l.experience).Deeper(e.tier, float64(holds))
	if !ok {
		return 0
	}
	l.handle(site.Evicted{
		ID: e.id, Tier: tier,
		Reason: fmt.Sprintf("idle %s, and %s", e.idle.Truncate(time.Second), why),
	})
	if l.Activity != nil && r.descent == nil && !r.stopping {
		return 0 // somebody is there
	}
	return float64(holds) - then
}
