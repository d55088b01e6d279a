package life

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// AheadLook is how often is looked whom to wake ahead.
const AheadLook = time.Second

const (
	// aheadAtOnce is how many may be on their way at a time, as each costs a start.
	aheadAtOnce = 2
	// aheadSpread is by how much one is put off at most, so that those who are expected at the same minute do not start at once;
	// of what its plan has it awake for, an eighth at most.
	aheadSpread = 30 * time.Second
	// aheadAgain is when is looked again for the memory that was lacking.
	aheadAgain = 5 * time.Second
	// aheadCounted is for how long a visit may be counted after its replica has gone.
	aheadCounted = 3 * time.Second
	// aheadKept is how old what is on disk may be.
	aheadKept = 10 * time.Second
)

// Ahead wakes sites ahead of visits, by their plans: those of which it is known that it has paid. Nobody waits for it, and it
// waits for everybody: for starts that visitors wait for, for memory of which there is enough without that somebody sleeps deeper for
// it, for its share of an hour (wake.ahead). A site is planned anew when it has gone to sleep, and when its moment has come.
// Look is called by one goroutine.
type Ahead struct {
	host                          *Host
	came, nobody, failed, skipped atomic.Uint64

	mu     sync.Mutex
	asleep map[*Site]bool // those that went to sleep: whether they are to be planned, or were parked by hand
	waking int            // on their way
	tokens float64        // so many more may be woken now
	out    map[*Site]*woken

	// What Follow is told.
	arrivals []arrival
	news     chan struct{}

	// Of who looks.
	due     map[*Site]*expected
	looked  time.Time
	changed bool
	kept    time.Time
}

// expected is a visit that a site is to be woken ahead of.
type expected struct {
	at   time.Time
	last time.Time // when the last visitor left
	rise policy.Rise
	done bool // it was woken; else its time goes by for want of room
}

// woken is a site that was woken ahead, until it is known what came of it.
type woken struct {
	expected
	beside string // another, which it follows

	id   site.ReplicaID // 0: it is on its way
	up   time.Time
	gone time.Time
}

// NewAhead is that of a host.
func NewAhead(h *Host) *Ahead {
	return &Ahead{
		host: h, asleep: map[*Site]bool{}, out: map[*Site]*woken{}, news: make(chan struct{}, 1),
		due: map[*Site]*expected{}, tokens: float64(h.Cfg.Wake.Ahead) / 60,
	}
}

// AheadCounts are how many sites were woken ahead of a visit, by what came of it.
type AheadCounts struct{ Came, Nobody, Failed, Skipped uint64 }

// Counts are those since the daemon's start.
func (a *Ahead) Counts() AheadCounts {
	return AheadCounts{a.came.Load(), a.nobody.Load(), a.failed.Load(), a.skipped.Load()}
}

// slept has a site planned that has gone to sleep, if waking it ahead has paid, unless somebody wanted it to sleep. No plan is made
// with its lock held.
func (a *Ahead) slept(l *Live) {
	if a == nil || a.host.Cfg.Wake.Ahead == 0 || l.Activity == nil {
		return
	}
	x, byHand := l.experience, l.Machine.ByHand()
	if !byHand && (x.State == nil || !x.State.Ahead.Surely()) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asleep[l.Site] = !byHand
}

// Look plans those who went to sleep, wakes those whose moment it is, and finds out what came of others.
func (a *Ahead) Look() {
	most := float64(a.host.Cfg.Wake.Ahead)
	if most == 0 {
		return
	}
	now := time.Now()
	if a.looked.IsZero() {
		a.again()
		a.looked = now
	}
	a.mu.Lock()
	a.tokens = min(a.tokens+most*now.Sub(a.looked).Hours(), max(1, most/60))
	a.looked = now
	asleep := a.asleep
	a.asleep = map[*Site]bool{}
	a.mu.Unlock()
	for st, planned := range asleep {
		if !planned {
			a.changed = a.changed || a.due[st] != nil
			delete(a.due, st)
			continue
		}
		a.host.Guard(st, func() { a.plan(st, now) })
	}
	for st, e := range a.due {
		if !e.done && !now.Before(e.at) {
			a.host.Guard(st, func() { a.wake(st, now) })
		}
	}
	a.outcomes(now)
	a.keep(now)
}

// sleeper is a site that has no processes, as far as it is one, and what is known of it.
func sleeper(st *Site) (in policy.Input, is bool) {
	parked := false
	st.With(func(l *Live) {
		switch a := l.Activity; {
		case l.gone || l.fault != nil || l.pause != nil:
		case a == nil:
			parked = true
		default:
			in = st.Host.Input(a.Spec, a.experience.Clone())
			is = a.Machine.Phase() == site.Parked && len(a.Machine.Replicas()) == 0
		}
	})
	if !parked {
		return in, is
	}
	kept, err := st.Host.Store.Get(st.Name)
	if err != nil {
		return in, false // deleted meanwhile
	}
	return st.Host.Input(Bounded(&st.Host.Cfg, &kept.Spec), st.Host.loadExperience(st.Name)), true
}

// plan finds the moment at which a site is to be woken.
func (a *Ahead) plan(st *Site, now time.Time) (*expected, policy.Input, bool) {
	in, asleep := sleeper(st)
	old := a.due[st]
	e := (*expected)(nil)
	if in.Spec != nil {
		if idle, visited := in.Idle(); visited {
			if rise, ok := a.host.Plans.Rise(in, idle); ok {
				last := now.Add(-idle)
				e = &expected{at: last.Add(rise.After), last: last, rise: rise}
				if wide := min(aheadSpread, (rise.Until-rise.After)/8); wide > 0 {
					e.at = e.at.Add(rand.N(wide)) //nolint:gosec // nothing secret about it
				}
			}
		}
	}
	if old != nil && !old.done && !now.Before(old.at) && (e == nil || e.rise.After != old.rise.After) {
		a.skipped.Add(1)
	}
	switch {
	case e == nil:
		a.changed = a.changed || old != nil
		delete(a.due, st)
	case old != nil && old.done && old.rise.After == e.rise.After && e.last.Sub(old.last).Abs() < time.Second: // once for each visit
		return old, in, false
	case old != nil && old.rise.After == e.rise.After && !now.Before(old.at): // it is its moment, and was before
		e.at = old.at
		fallthrough
	default:
		a.changed = true
		a.due[st] = e
	}
	return e, in, asleep
}

// wake wakes a site whose moment it was when it was planned, if it still is.
func (a *Ahead) wake(st *Site, now time.Time) {
	e, in, asleep := a.plan(st, now)
	if e == nil || e.done || now.Before(e.at) {
		return
	}
	if !asleep { // it is awake, or sleeps with its processes
		delete(a.due, st)
		a.changed = true
		return
	}
	a.mu.Lock()
	room := a.waking < aheadAtOnce && a.out[st] == nil && a.tokens >= 1
	a.mu.Unlock()
	if !room {
		return
	}
	if why := a.host.Admission.lacks(in); why != "" {
		a.host.Log.Debug("a site is not woken ahead", "site", st.Name, "why", why)
		e.at = now.Add(aheadAgain)
		return
	}
	w := &woken{expected: *e}
	a.mu.Lock()
	room = a.begin(st, w) // one may have been woken beside another meanwhile
	a.mu.Unlock()
	if !room {
		return
	}
	e.done = true
	st.goDo(func() {
		defer a.over()
		a.errand(st, in.Spec, w)
	})
}

func (a *Ahead) over() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waking--
}

// errand wakes it, and has it go where its plan wants it.
func (a *Ahead) errand(st *Site, s *spec.Site, w *woken) {
	ctx, cancel := context.WithTimeout(a.host.Ctx, min(2*a.host.startTimeout(s), max(time.Minute, w.rise.Until-w.rise.After)))
	defer cancel()
	r, _, err := st.errand(ctx, fmt.Sprintf("ahead of a visit: its plan has it %s from %s after the last one on", w.rise.Tier, spec.Duration(w.rise.After.Round(time.Second))))
	if err == nil {
		st.With(func(l *Live) {
			r.last = w.last
			errandOver(l, r)
		})
	}
	a.isUp(st, w, r, err)
}

// isUp notes that a site is awake, or why it is not.
func (a *Ahead) isUp(st *Site, w *woken, r *Replica, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed.Add(1)
		delete(a.out, st)
		a.host.Log.Warn("a site could not be woken ahead of a visit", "site", st.Name, "error", err)
		return false
	}
	w.id, w.up = r.ID, time.Now()
	return true
}

// outcomes finds out of those who were woken whether somebody came.
func (a *Ahead) outcomes(now time.Time) {
	a.mu.Lock()
	out := maps.Clone(a.out)
	a.mu.Unlock()
	for st, w := range out {
		a.mu.Lock()
		id, up := w.id, w.up
		a.mu.Unlock()
		if id == 0 {
			continue
		}
		last, live, known := time.Time{}, false, false
		st.With(func(l *Live) {
			if l.Activity != nil && l.Replicas[id] != nil {
				live = true
			}
			if l.Activity != nil && l.experience.State != nil {
				last, known = time.Unix(0, int64(l.experience.State.Last)), true
			}
		})
		switch {
		case known && last.After(w.last.Add(time.Second)):
			a.tell(st, w, true, fmt.Sprintf("somebody came %s after it was woken", spec.Duration(max(0, last.Sub(up)).Round(time.Second))))
		case live:
		case w.gone.IsZero():
			w.gone = now
		case now.Sub(w.gone) >= aheadCounted:
			x := a.host.loadExperience(st.Name)
			came := x.State != nil && time.Unix(0, int64(x.State.Last)).After(w.last.Add(time.Second))
			a.tell(st, w, came, map[bool]string{true: "somebody came", false: "nobody came, and it sleeps as before"}[came])
		}
	}
}

func (a *Ahead) tell(st *Site, w *woken, came bool, what string) {
	if came {
		a.came.Add(1)
	} else {
		a.nobody.Add(1)
	}
	a.mu.Lock()
	delete(a.out, st)
	a.mu.Unlock()
	fields := map[string]any{"came": came, "tier": w.rise.Tier}
	if w.beside != "" {
		fields["beside"] = w.beside
	}
	a.host.Tell(event.Event{Site: st.Name, Kind: event.Ahead, Reason: what, Fields: fields})
}

// aheadFile lists the sites that are to be woken, for the next daemon.
func (a *Ahead) aheadFile() string { return filepath.Join(a.host.Cfg.StateDir, "ahead.json") }

// keep writes them down. When each is to be woken is planned anew.
func (a *Ahead) keep(now time.Time) {
	if !a.changed || now.Sub(a.kept) < aheadKept {
		return
	}
	a.kept, a.changed = now, false
	names := make([]string, 0, len(a.due))
	for st := range a.due {
		names = append(names, st.Name)
	}
	slices.Sort(names)
	if err := leaveForNext(a.aheadFile(), names); err != nil {
		a.host.Log.Error("the next daemon will not know whom to wake ahead of visits before they have slept again", "error", err)
	}
}

// again goes on with those that an earlier daemon was to wake.
func (a *Ahead) again() {
	left := leftByLast(a.host, a.aheadFile(), "sites are woken ahead of visits again when they have slept once more")
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, st := range left {
		a.asleep[st] = true
	}
}
