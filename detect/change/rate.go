package change

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Defaults of Rate.
const (
	rateHalfLife = 10 * time.Minute
	// phiBin is wider than the loading of a page, or the requests of one page count as
	// two bins of different load.
	phiBin = 10 * time.Second
	// Before anything was counted: some arrivals a minute, in pages of a few requests. The
	// prior weighs as much as so many arrivals and such a time.
	priorArrivals = 1
	priorTime     = 60 * time.Second
	priorPhi      = 3
	priorPhiCount = 50
)

// Rate estimates how often a site is asked, and how unevenly: the posterior of a
// Gamma prior over Poisson counts whose weight halves with a half-life, and the
// overdispersion from the differences of neighbouring bins, which a slow change of the
// rate (the day) does not enlarge. The zero value is ready. 88 bytes a site.
type Rate struct {
	HalfLife time.Duration // 0: 10 minutes

	count, exposure float64 // decayed: arrivals and seconds

	binCount   float64
	binTime    time.Duration
	last       float64 // arrivals a second in the bin before
	lastKnown  bool
	difference float64 // decayed sums for φ
	sum        float64
	bins       float64
}

// phiMemory is how many times longer the overdispersion is remembered than the rate: it
// belongs to the site's pages, and takes more counts to know.
const phiMemory = 6

// Add takes n arrivals within a span into account.
func (r *Rate) Add(n float64, span time.Duration) {
	n = figure.Positive(n)
	if span <= 0 {
		return
	}
	half := r.HalfLife
	if half <= 0 {
		half = rateHalfLife
	}
	decay := math.Exp2(-span.Seconds() / half.Seconds())
	r.count = r.count*decay + n
	r.exposure = r.exposure*decay + span.Seconds()
	slow := math.Pow(decay, 1.0/phiMemory)
	r.difference *= slow
	r.sum *= slow
	r.bins *= slow
	r.binCount += n
	r.binTime += span
	if r.binTime >= phiBin {
		r.closeBin()
	}
}

// closeBin compares a bin with the one before. Of two Poisson counts x and y with the
// same mean, (x-y)² is expected to be x+y; φ is how many times more it is.
func (r *Rate) closeBin() {
	width := r.binTime.Seconds()
	now := r.binCount / width
	if r.lastKnown {
		d := (now - r.last) * width
		r.difference += d * d
		r.sum += (now + r.last) * width
		r.bins++
	}
	r.last, r.lastKnown = now, true
	r.binCount, r.binTime = 0, 0
}

// Gamma is what is known of the rate: a shape and a rate parameter (in seconds). Its
// mean is the arrivals a second.
type Gamma struct{ Shape, Seconds float64 }

// Mean of the rate, in arrivals a second.
func (g Gamma) Mean() float64 {
	if !(g.Seconds > 0) {
		return 0
	}
	return figure.Positive(g.Shape / g.Seconds)
}

// Posterior is what is known of the rate by now.
func (r *Rate) Posterior() Gamma {
	return Gamma{Shape: r.count + priorArrivals, Seconds: r.exposure + priorTime.Seconds()}
}

// Lambda is the estimated rate in arrivals a second.
func (r *Rate) Lambda() float64 { return r.Posterior().Mean() }

// upper is what the rate hardly exceeds: two standard errors above what was counted. A
// baseline that is too low by a few percent would be a change that never ends.
func (r *Rate) upper() float64 {
	if r.exposure <= 0 {
		return r.Lambda()
	}
	rate := r.count / r.exposure
	return rate + 2*math.Sqrt(r.Phi()*rate/r.exposure)
}

// Phi is the estimated overdispersion, at least 1.
func (r *Rate) Phi() float64 {
	return figure.Clamp((r.difference+priorPhi*priorPhiCount)/(r.sum+priorPhiCount), 1, MaxPhi, priorPhi)
}

// upperPhi is what the overdispersion hardly exceeds: the standard error of a variance
// from n differences is √(2/n) of it.
func (r *Rate) upperPhi() float64 { return r.Phi() * (1 + 2*math.Sqrt(2/max(1, r.bins))) }

// acceptAfter is how long an alarm lasts until the new load counts as normal.
const acceptAfter = 10 * time.Minute

// Normal learns what load is normal for a site, and says when the kernel should be told.
// While an alarm lasts it learns nothing, but for a load that stays: that one becomes normal.
// The zero value is ready.
type Normal struct {
	Rate Rate
	ARL0 float64 // arrivals between two false alarms; 0: DefaultARL0
	// Floor is a rate below which a change cannot matter; 0: one arrival a second.
	Floor float64

	alarmed time.Duration // for how long
	during  Rate
	told    Baseline
}

// Before so much was seen a load is not known, and nothing of it is unusual.
const (
	knownAfter    = time.Minute
	knownArrivals = 200
)

// Known says whether enough was seen to call a load unusual.
func (n *Normal) Known() bool {
	return n.Rate.exposure >= knownAfter.Seconds() || n.Rate.count >= knownArrivals && n.Rate.bins >= 1
}

// Observe takes n arrivals in a span into account; alarming says whether an alarm
// lasted in it.
func (n *Normal) Observe(arrivals float64, span time.Duration, alarming bool) {
	if !alarming || !n.Known() {
		n.alarmed, n.during = 0, Rate{}
		n.Rate.Add(arrivals, span)
		return
	}
	n.alarmed += max(0, span)
	n.during.Add(arrivals, span)
	if n.alarmed >= acceptAfter {
		n.during.HalfLife = n.Rate.HalfLife
		n.Rate = n.during
		n.alarmed, n.during = 0, Rate{}
	}
}

// Baseline is what counts as normal now; before anything is known it never alarms.
func (n *Normal) Baseline() Baseline {
	if !n.Known() {
		return Baseline{Lambda: MaxLambda, Phi: MaxPhi, ARL0: MaxARL0}
	}
	floor := n.Floor
	if floor <= 0 {
		floor = 1
	}
	return Baseline{Lambda: max(floor, n.Rate.upper()), Phi: n.Rate.upperPhi(), ARL0: n.ARL0}.sane()
}

// Changed returns the baseline, and whether it moved enough since this last said so
// that the kernel should get it.
func (n *Normal) Changed() (Baseline, bool) {
	now := n.Baseline()
	if n.told != (Baseline{}) && near(now.Lambda, n.told.Lambda) && near(now.Phi, n.told.Phi) {
		return n.told, false
	}
	n.told = now
	return now, true
}

// near is not above what was told by more than a little (that would alarm by
// itself), and not far below (that only makes changes look smaller).
func near(now, told float64) bool { return now <= 1.05*told && now >= 0.8*told }
