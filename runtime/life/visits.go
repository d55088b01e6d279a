package life

import (
	"time"

	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
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
func (a *Arrivals) visited(st *Site, v policy.Visits) {
	parked := false
	st.With(func(l *Live) { parked = !l.learnVisit(v) })
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
		if l.learnVisit(v) {
			return
		}
		learnFrom(l, v, &kept.Spec, x)
		if err := h.Experiences.Put(st.Name, x); err != nil {
			h.NotKept(st.Name, err)
		}
	})
}

// learnVisit does so if the site is live, or gone: else false.
func (l *Live) learnVisit(v policy.Visits) bool {
	a := l.Activity
	switch {
	case l.gone || l.fault != nil:
	case a == nil:
		return false
	case a.experience == nil: // it is being read
		a.early = append(a.early[:min(len(a.early), mostEarly)], v)
	default:
		learnFrom(l, v, a.Spec, a.experience)
	}
	return true
}

// learnFrom has it learnt, with the late wakes that are not yet.
func learnFrom(l *Live, v policy.Visits, s *spec.Site, x *policy.Experience) {
	if h := l.History; h != nil {
		v.Late, h.late = h.late, 0
	}
	if l.Host.Plans.Visited(l.Host.Input(s, x), v) {
		l.Host.Ahead.arrived(l, v.Begin)
	}
}

// learnEarly takes the visits that came before the record was read.
func (l *Live) learnEarly() {
	for _, v := range l.early {
		l.learnVisit(v)
	}
	l.early = nil
}

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
