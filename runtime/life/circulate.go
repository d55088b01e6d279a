package life

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// CirculateLook is how often is looked which sites are to be circulated whose spec leaves the moment to the node
// (lifetime: auto).
const CirculateLook = time.Minute

const (
	// circulateAtOnce is how many may begin at one look, as each costs a start; who is too old does not wait.
	circulateAtOnce = 4
	// circulateAgain is how long the next try waits at most: whether the one before came to something is for the machine.
	circulateAgain = time.Hour
)

// Circulator circulates sites at the moments that it chooses. What it knows is read from the sites, so the next daemon goes on.
// Look is called by one goroutine.
type Circulator struct {
	host *Host
	next map[*Site]nextLook
}

// nextLook is when a site is looked at again, as long as its time is the same.
type nextLook struct {
	at     time.Time
	within time.Duration
	hours  *[24]uint64 // of the record, once they are needed
}

// NewCirculator is that of a host.
func NewCirculator(h *Host) *Circulator { return &Circulator{host: h, next: map[*Site]nextLook{}} }

// circulatesWithin is the age by which a site is to be circulated: somewhat less than its spec allows, each site another
// part, so that those that were started together do not go together.
func circulatesWithin(s *spec.Site) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.Name)) // it never fails
	sooner := float64(s.Lifetime.Jitter) / 100 * float64(h.Sum32()) / math.MaxUint32
	return time.Duration((1 - sooner) * float64(s.Lifetime.Within))
}

// Look circulates the sites whose moment it is.
func (c *Circulator) Look() {
	begun, now := 0, time.Now()
	for _, st := range c.host.Finder.All() {
		within := time.Duration(0)
		c.host.each(st, func(*Live) { within = st.within })
		known := c.next[st]
		switch {
		case within == 0:
			delete(c.next, st)
			continue
		case known.within == within && now.Before(known.at):
			continue
		case known.within != within:
			known.hours = nil
		}
		c.host.Guard(st, func() {
			k, moment, ok := momentOf(st, &known)
			switch {
			case !ok:
				known.at = now.Add(k.LooksFrom()) // nothing of it can be older by then
			case moment.After > 0 || moment.At != sleep.CirculateBound && begun >= circulateAtOnce:
				known.at = now.Add(CirculateLook)
				if moment.At == sleep.CirculateYoung {
					known.at = now.Add(max(CirculateLook, moment.After))
				}
			default:
				begun++
				known.at = now.Add(min(circulateAgain, within/8))
				c.circulate(st, k, moment)
			}
			known.within = within
			c.next[st] = known
		})
	}
}

// Circulation is when a site is circulated, as things are now.
type Circulation struct {
	Born   time.Time // the oldest of its processes
	Latest time.Time
	After  time.Duration
	At     sleep.CirculationMoment
	Why    string
}

// CirculationOf says when a site is circulated; false: the node does not choose that, or nothing of it gets old.
func CirculationOf(st *Site) (Circulation, bool) {
	_, m, ok := momentOf(st, &nextLook{})
	return m, ok
}

// aging is what of a site gets old.
type aging struct {
	sleep.Circulation
	born time.Time
	tier detect.Tier // on which it sleeps with its processes; empty: it does not
	in   policy.Input
}

// momentOf reads what is known of a site, and finds its moment.
func momentOf(st *Site, known *nextLook) (k aging, m Circulation, ok bool) {
	k, ok = agingOf(st)
	if !ok {
		return k, m, false
	}
	now := time.Now()
	k.Age, k.Clock = now.Sub(k.born), now.Sub(now.UTC().Truncate(24*time.Hour))
	k.Start = k.in.Takes(detect.TierCold)
	if k.Asleep {
		idle := k.Age
		if s := k.in.Experience.State; s != nil && s.Last > 0 {
			idle = max(0, time.Duration(now.UnixNano())-s.Last)
		}
		k.Comes = st.Host.Plans.Comes(k.in, idle)
	}
	if !k.Asleep && k.Age >= k.PicksHour() && st.Host.Arrivals != nil {
		if known.hours == nil {
			known.hours = st.Host.Arrivals.hours(st.Name)
		}
		k.Hours = known.hours
	}
	m.After, m.At = k.Due()
	m.Born, m.Latest, m.Why = k.born, k.born.Add(k.Within), whyThen[m.At]
	return k, m, true
}

var whyThen = map[sleep.CirculationMoment]string{
	sleep.CirculateYoung:  "from then on while it sleeps, else in its quietest hour",
	sleep.CirculateAsleep: "it sleeps, and nobody is expected soon",
	sleep.CirculateQuiet:  "in this hour the fewest come",
	sleep.CirculateBound:  "there was no better moment",
}

// agingOf finds the oldest processes of a site: those of its replicas, or of its image.
func agingOf(st *Site) (k aging, ok bool) {
	image := false
	st.With(func(l *Live) {
		k.Within = st.within
		if k.Within == 0 || l.gone || l.fault != nil || l.pause != nil {
			return
		}
		a := l.Activity
		if a == nil {
			image, k.Asleep = l.Image, true
			return
		}
		oldest := func(r *Replica) {
			if at := bornOf(r); k.born.IsZero() || at.Before(k.born) {
				k.born = at
			}
		}
		for _, r := range a.Replicas {
			if r.dumped { // until its image is complete
				oldest(r)
			}
		}
		for _, m := range a.Machine.Replicas() {
			r := a.Replicas[m.ID]
			if r == nil || r.Ctr == nil || r.gate != nil || m.State == site.Draining || m.State == site.Stopping {
				continue
			}
			oldest(r)
			if m.State == site.Asleep && !m.Spare() {
				k.tier = m.Tier
			}
		}
		phase := a.Machine.Phase()
		k.Asleep = phase == site.Parked
		if k.born.IsZero() {
			image = k.Asleep && l.Image
			return
		}
		k.in = st.Host.Input(a.Spec, a.experience.Clone())
		ok = k.Asleep || phase == site.Running
	})
	if !image {
		return k, ok
	}
	m, err := completeImage(st.Host.checkpointDir(st.Name))
	if err != nil {
		return k, false // its restore finds the same
	}
	kept, err := st.Host.Store.Get(st.Name)
	if err != nil {
		return k, false // deleted meanwhile
	}
	k.born, k.in = bornIn(&m), st.Host.Input(&kept.Spec, st.Host.loadExperience(st.Name))
	return k, true
}

// bornOf is when a replica's processes were started: those of a restored one before it.
func bornOf(r *Replica) time.Time {
	if at, err := time.Parse(time.RFC3339, r.Ctr.Meta()[metaBorn]); err == nil {
		return at
	}
	return r.Ctr.Created()
}

// bornIn is when those of an image were.
func bornIn(m *criu.Manifest) time.Time {
	if m.Born.IsZero() {
		return m.Created
	}
	return m.Born
}

// circulate does it. Where a site sleeps with its processes, and the next visitor is to find it so, a fresh start is made with
// nobody there; what lies on disk is thrown away.
func (c *Circulator) circulate(st *Site, k aging, m Circulation) {
	hours := func(d time.Duration) spec.Duration { return spec.Duration(d.Round(time.Minute)) }
	reason := fmt.Sprintf("its processes are %s old, of %s that they may be (lifetime): %s", hours(k.Age), hours(k.Within), m.Why)
	st.With(func(l *Live) {
		if l.gone || l.fault != nil || l.pause != nil {
			return
		}
		l.DropSleep(reason)
		if l.Activity != nil {
			l.handle(site.CirculateAsked{Reason: reason})
		}
	})
	if k.tier == "" || !c.host.Plans.StartPays(k.in, k.tier, k.Comes) || c.host.Admission.lacks(k.in) != "" {
		return
	}
	st.goDo(func() {
		ctx, cancel := context.WithTimeout(c.host.Ctx, cmp.Or(time.Duration(k.in.Spec.Stop.Grace), time.Minute)+2*c.host.startTimeout(k.in.Spec))
		defer cancel()
		gone := func(a *Activity) bool { return a == nil || len(a.Replicas) == 0 }
		if err := st.Wait(ctx, gone); err != nil {
			return
		}
		r, _, err := st.errand(ctx, reason)
		if err != nil {
			c.host.Log.Warn("a site that was circulated in its sleep is started for its next visitor only", "site", st.Name, "error", err)
			return
		}
		st.With(func(l *Live) { errandOver(l, r) })
	})
}
