package life

import (
	"time"

	"github.com/fcnode/fcnode/runtime/policy"
)

// came notes the connections of a replica, which are read before it goes to sleep
// and before it ends.
func (l *Live) came(r *Replica, total uint64) {
	if l.Spec.Objective.Cold.Share() == 0 {
		return
	}
	l.past().came += total - min(r.came, total)
	r.came = total
}

// visited takes into account that visitors were there for a time. Nobody waits for it:
// it is told by the meter, up to a second later.
func (a *Arrivals) visited(st *Site, begin, end time.Time) {
	parked := false
	st.With(func(l *Live) { parked = !l.learnVisit(begin, end) })
	if !parked {
		return
	}
	// Its record and its spec are read without its lock: somebody may come.
	h := a.host
	kept, err := h.Store.Get(st.Name)
	if err != nil {
		return // deleted meanwhile
	}
	x := h.loadExperience(st.Name)
	st.With(func(l *Live) {
		if l.learnVisit(begin, end) {
			return
		}
		h.Plans.Visited(h.Input(&kept.Spec, x), begin, end)
		if err := h.Experiences.Put(st.Name, x); err != nil {
			h.NotKept(st.Name, err)
		}
	})
}

// learnVisit does so if the site is live, or gone: else false.
func (l *Live) learnVisit(begin, end time.Time) bool {
	a := l.Activity
	switch {
	case l.gone || l.fault != nil:
	case a == nil:
		return false
	case a.experience == nil: // it is being read
		a.early = append(a.early[:min(len(a.early), mostEarly)], span{begin, end})
	default:
		l.Host.Plans.Visited(l.Host.Input(a.Spec, a.experience), begin, end)
	}
	return true
}

// learnEarly takes the visits that came before the record was read.
func (l *Live) learnEarly() {
	for _, s := range l.early {
		l.learnVisit(s.begin, s.end)
	}
	l.early = nil
}

// span is from when to when somebody was there.
type span struct{ begin, end time.Time }

// mostEarly bounds what waits for a file that is not read: one a second.
const mostEarly = 60

// keepPauses has what a live site has taught put on disk; of a parked one it is there.
func (l *Live) keepPauses() {
	if l.gone || l.Activity == nil || l.experience == nil {
		return
	}
	if err := l.Host.Experiences.Put(l.Name, l.experience); err != nil {
		l.Host.NotKept(l.Name, err)
	}
}

// countWake notes what came since the last wake, when the next one is over.
func (h *history) countWake(x *policy.Experience, took time.Duration, now time.Time, share float64) {
	since := time.Duration(0)
	if !x.Woke.IsZero() {
		since = max(0, now.Sub(x.Woke))
	}
	x.CountWake(h.came, took, since, share)
	h.came, x.Woke = 0, now
}
