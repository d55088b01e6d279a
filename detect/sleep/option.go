package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Option is a tier that a site may be on, and what that costs it.
type Option struct {
	Tier   detect.Tier
	Memory float64 // bytes held there
	Disk   float64 // bytes held there
	CPU    float64 // cores used there
	// Wake is what a wake from there adds to the first answer soon after the
	// site got there, Cooled the same when it has been there for long (its
	// image is in no cache any more; 0: no more than Wake), and Cools is how
	// long it takes to lose 63 % of the difference.
	Wake, Cooled, Cools time.Duration
	// Enter is the CPU time that going there takes, Writes the bytes written.
	Enter  time.Duration
	Writes float64
}

// wakeAfter is what a wake adds after the site was idle for so many seconds.
func (o *Option) wakeAfter(idle float64) float64 {
	w := o.Wake.Seconds()
	if more := o.Cooled.Seconds() - w; more > 0 && o.Cools > 0 {
		w += more * -math.Expm1(-idle/o.Cools.Seconds())
	}
	return w
}

// Options are the tiers that a site may be on by what they cost: the measured
// costs, and guesses for the rest. Running comes first. The objective's Wake
// excludes tiers whose wake may take longer.
func Options(measured []TierCost, allowed func(detect.Tier) bool, wake time.Duration) []Option {
	out := make([]Option, 0, mostOptions)
	for i, c := range complete(measured) {
		if i > 0 && (!allowed(c.Tier) || wake > 0 && c.P99 > wake) {
			continue
		}
		o := NewOption(c.Tier, c.Memory, c.Disk, c.Median)
		o.CPU = c.CPU
		out = append(out, o)
	}
	return out
}

// NewOption is a tier on which so many bytes are held, and from which a wake takes a time.
func NewOption(tier detect.Tier, memory, disk float64, wake time.Duration) Option {
	o := Option{Tier: tier, Memory: memory, Disk: disk, Wake: wake}
	if tier == detect.TierCheckpointed || tier == detect.TierReclaimed {
		o.Enter = wake // to write takes about as long as to read
	}
	if tier == detect.TierCheckpointed {
		o.Writes = disk
	}
	return o
}

// mostOptions bounds a table: there are no more tiers than these.
const mostOptions = 6

// table is what the options cost at the prices of now, in the unit of prices:
// those that a plan can be better off with, in the order of depth, running first.
type table struct {
	n       int
	option  [mostOptions]uint8                // which of the options each is
	row     [math.MaxUint8 + 1]uint8          // and back; of one left out: the one above it
	hold    [mostOptions]float64              // of a second there
	enter   [mostOptions]float64              // of going there
	move    [mostOptions][mostOptions]float64 // of going from one to another
	wake    [Buckets][mostOptions]float64     // of being found there in a bucket: waiting and CPU
	careful [Buckets]uint8                    // the tier of ski-rental in a bucket
	known   [Buckets + 1]float64              // hindsight's cost for a pause as long as an edge
}

// load fills the table. An option that holds no less than one from which waking is
// quicker is left out.
func (t *table) load(options []Option, p Prices) {
	t.n = 0
	for i := range options[:min(len(options), math.MaxUint8)] {
		o := &options[i]
		hold := p.holdOption(o)
		if t.n > 0 && hold >= t.hold[t.n-1] || t.n == mostOptions {
			t.row[i] = uint8(t.n - 1)
			continue
		}
		t.option[t.n], t.row[i], t.hold[t.n] = uint8(i), uint8(t.n), hold
		t.enter[t.n] = p.CPU*o.Enter.Seconds() + p.Write*o.Writes/figure.GiB
		t.wakes(t.n, o, p)
		t.n++
	}
	for from := range t.n {
		for to := range t.n {
			switch o := &options[t.option[from]]; {
			case to == from:
				t.move[from][to] = 0
			case to > from:
				t.move[from][to] = t.enter[to]
			default: // a wake that nobody waits for, and then the way down
				t.move[from][to] = p.CPU*o.Wake.Seconds() + t.enter[to]
			}
		}
	}
	t.skiRental()
	for b := range t.known {
		t.known[b] = t.hindsightIn(min(b, Buckets-1), edges[b])
	}
}

func (t *table) wakes(i int, o *Option, p Prices) {
	fixed := o.Cooled <= o.Wake || o.Cools <= 0
	var cost float64
	for b := range Buckets {
		if i > 0 && (b == 0 || !fixed) {
			w := o.wakeAfter(edges[b])
			cost = p.Visit*harm(w) + p.CPU*w
		}
		t.wake[b][i] = cost
	}
}

// harm is how much a wait counts, in seconds. Nobody notices a short one.
func harm(wait float64) float64 {
	if wait < Noticeable.Seconds() {
		return 0
	}
	return wait
}

// Harm is how much a wait counts: nothing below Noticeable, else its length.
func Harm(wait time.Duration) float64 { return harm(wait.Seconds()) }

// once is what a tier costs one pause besides its holding: going there, and
// being woken there.
func (t *table) once(i, b int) float64 { return t.enter[i] + t.wake[b][i] }

// skiRental finds the tier of least cost so far in each bucket: whoever is
// always on the tier that would have been the best if the pause ended now pays
// at most twice what the best choice in hindsight costs (Irani, Shukla, Gupta
// 2003). It goes down only.
func (t *table) skiRental() {
	at := 0
	for b := range Buckets {
		best, least := at, math.Inf(1)
		for i := at; i < t.n; i++ {
			if c := t.once(i, b) + t.hold[i]*edges[b]; c < least {
				best, least = i, c
			}
		}
		at = best
		t.careful[b] = uint8(at)
	}
}

// hindsight is what the best single tier costs for a pause that is known.
func (t *table) hindsight(pause float64) float64 {
	return t.hindsightIn(bucketOf(max(pause, shortest)), pause)
}

// hindsightIn is hindsight where the pause's bucket is known.
func (t *table) hindsightIn(b int, pause float64) float64 {
	least := math.Inf(1)
	for i := range t.n {
		least = min(least, t.once(i, b)+t.hold[i]*pause)
	}
	return least
}
