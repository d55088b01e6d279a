package life

import (
	"context"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
)

// arrival is that somebody came to a site, and whether his packet woke it.
type arrival struct {
	st   *Site
	at   time.Time
	woke bool
}

// mostArrivals bounds what waits for who looks at it; what is beyond that is nobody's beginning.
const mostArrivals = 1024

// woke is told of a site that somebody's packet wakes. He waits, so it is only noted.
func (a *Ahead) woke(l *Live) { a.note(arrival{l.Site, time.Now(), true}) }

// arrived is told of a visit that began after a pause.
func (a *Ahead) arrived(l *Live, begin time.Time) { a.note(arrival{l.Site, begin, false}) }

func (a *Ahead) note(v arrival) {
	if a == nil || a.host.Cfg.Wake.Ahead == 0 {
		return
	}
	a.mu.Lock()
	if len(a.arrivals) < mostArrivals {
		a.arrivals = append(a.arrivals, v)
	}
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default: // it is on its way
	}
}

// Follow wakes sites beside those that they follow, until the context ends.
func (a *Ahead) Follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.news:
		}
		a.mu.Lock()
		arrivals := a.arrivals
		a.arrivals = nil
		a.mu.Unlock()
		for _, v := range arrivals {
			a.host.Guard(nil, func() { a.follow(v) })
		}
	}
}

func (a *Ahead) follow(v arrival) {
	id := uint32(v.st.ID)
	if !v.woke {
		a.host.Plans.Came(id, v.at)
		return
	}
	for _, b := range a.host.Plans.Woke(id, v.at) {
		if st := a.host.Finder.ByID(bpf.SiteID(b.Site)); st != nil {
			a.host.Guard(st, func() { a.beside(v, b, st) })
		}
	}
}

// beside wakes a site beside one that it follows, if it sleeps without processes, and that has paid.
func (a *Ahead) beside(v arrival, b sleep.Beside, st *Site) {
	in, asleep := sleeper(st)
	if !asleep || in.Spec == nil {
		return
	}
	tier, byHand := detect.TierCold, false
	st.With(func(l *Live) {
		if l.Image {
			tier = detect.TierCheckpointed
		}
		byHand = l.History != nil && l.History.byHand
	})
	if byHand || !a.host.Plans.Beside(uint32(v.st.ID), b, in, tier, v.at) {
		return
	}
	why := a.host.Admission.lacks(in)
	last := time.Unix(0, int64(in.Experience.Pauses().Last))
	w := &woken{expected: expected{last: last, rise: policy.Rise{Tier: detect.TierRunning}}, beside: v.st.Name}
	a.mu.Lock()
	is := why == "" && a.begin(st, w)
	a.mu.Unlock()
	if !is {
		a.skipped.Add(1)
		a.host.Log.Debug("a site is not woken beside another", "site", st.Name, "beside", v.st.Name, "why", why)
		return
	}
	reason := fmt.Sprintf("beside %s: %.0f of its last %.0f wakes were followed by a visit within %s", v.st.Name, b.Came, b.Wakes, spec.Duration(sleep.Follows))
	st.goDo(func() { a.errandBeside(st, in.Spec, w, reason) })
}

// begin takes a place for a site that is woken with nobody there, if there is one; with the lock held.
func (a *Ahead) begin(st *Site, w *woken) bool {
	if a.waking >= aheadAtOnce || a.out[st] != nil || a.tokens < 1 {
		return false
	}
	a.tokens--
	a.waking++
	a.out[st] = w
	return true
}

// errandBeside wakes it at once, beside the wake that somebody waits for, and has it sleep as before if nobody comes.
func (a *Ahead) errandBeside(st *Site, s *spec.Site, w *woken, reason string) {
	ctx, cancel := context.WithTimeout(a.host.Ctx, 2*a.host.startTimeout(s))
	defer cancel()
	r, _, err := errandNow(ctx, st, reason)
	a.over()
	if !a.isUp(st, w, r, err) {
		return
	}
	select {
	case <-time.After(sleep.BesideFor):
	case <-a.host.Ctx.Done():
	}
	st.With(func(l *Live) {
		r.last = w.last
		errandOver(l, r)
	})
}
