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
	_ = withRecord(st, func() (*record, error) { return a.host.record(st.Name) }, func(l *Live, rec *record) { // else it is deleted
		switch {
		case l.fault != nil:
		case rec == nil:
			learnFrom(l, v, l.Spec, l.experience)
		default:
			learnFrom(l, v, &rec.kept.Spec, rec.learnt)
			keep(l, rec.learnt)
		}
	})
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

// keepPauses has what a live site has taught put on disk; of a parked one it is there.
func (l *Live) keepPauses() {
	if !l.gone && l.Activity != nil {
		keep(l, l.experience)
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
