package sleep

import "time"

// Circulation is what is known of a site whose processes are to be replaced by fresh ones before they are too old, at the moment
// that costs the least: while it sleeps, and is expected to for a while, else in the quietest hour of the last day.
type Circulation struct {
	Age    time.Duration // of the oldest of its processes
	Within time.Duration // the age that they may have at most
	Asleep bool
	Comes  time.Duration // from now on: until the next visitor of a site that sleeps is as likely to have come as not
	Start  time.Duration // what a cold start takes, which a visitor who comes too soon waits for
	Hours  *[24]uint64   // arrivals in each hour of the day; nil: not known
	Clock  time.Duration // since midnight, in the time of Hours
}

// CirculationMoment is the moment that is chosen, or waited for.
type CirculationMoment uint8

// The moments.
const (
	CirculateYoung  CirculationMoment = iota // it is too early
	CirculateAsleep                          // while the site sleeps
	CirculateQuiet                           // in its quietest hour
	CirculateBound                           // at the end of the time, as there was no better moment
)

const (
	// circulateShare is the last part of the time, in which a moment is looked for: what comes sooner would be for nothing.
	circulateShare = 4
	// circulateCalm is how many times a start a site has to be expected to sleep on.
	circulateCalm = 20
	day           = 24 * time.Hour
)

// LooksFrom is the age from which a moment is looked for, and PicksHour that from which it may be an hour at which
// somebody is there.
func (r *Circulation) LooksFrom() time.Duration { return r.Within - r.Within/circulateShare }

// PicksHour is described at LooksFrom. Hours are of no matter before.
func (r *Circulation) PicksHour() time.Duration { return r.Within - min(day, r.Within/circulateShare) }

// Due gives after which time the site is to be circulated if nothing changes until then (0: now), and what moment that is.
func (r *Circulation) Due() (time.Duration, CirculationMoment) {
	switch from := r.LooksFrom(); {
	case r.Age >= r.Within:
		return 0, CirculateBound
	case r.Age < from:
		return from - r.Age, CirculateYoung
	case r.Asleep && r.Comes >= circulateCalm*r.Start:
		return 0, CirculateAsleep
	}
	left, picks := r.Within-r.Age, max(0, r.PicksHour()-r.Age)
	if r.Hours == nil {
		return left, CirculateBound
	}
	// Each hour that begins before the end, and the one that it is when the picking begins.
	at := (r.Clock + picks) % day
	best, wait := r.Hours[at/time.Hour], picks
	for next := picks + time.Hour - at%time.Hour; next < left; next += time.Hour {
		if n := r.Hours[(r.Clock+next)%day/time.Hour]; n < best {
			best, wait = n, next
		}
	}
	return wait, CirculateQuiet
}
