package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/sleep"
)

// nasaTrace are the requests to NASA's web server in July and August 1995, by seconds.
const nasaTrace = "nasa-http-1995-per-second.txt.gz"

func readTrace(folder string) ([]int, error) {
	f, err := os.Open(filepath.Join(folder, nasaTrace))
	if err != nil {
		return nil, fmt.Errorf("the folder of -traces has no %s: %w", nasaTrace, err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nasaTrace, err)
	}
	var out []int
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", nasaTrace, len(out)+1, err)
		}
		out = append(out, n)
	}
	return out, lines.Err()
}

// thin keeps each block of ten seconds (about a page) with a chance of one in k: a site
// with so many times fewer visitors, who still come in pages.
func thin(trace []int, k int) []int {
	rnd := rand.New(rand.NewPCG(1, uint64(k)))
	out := make([]int, len(trace))
	keep := false
	for i, n := range trace {
		if i%10 == 0 {
			keep = rnd.IntN(k) == 0
		}
		if keep {
			out[i] = n
		}
	}
	return out
}

// pause is an idle time, and how many requests came in the second that ended it.
type pause struct {
	idle     time.Duration
	requests int
	at       int // second of the end
}

func pauses(trace []int) (out []pause) {
	last := -1
	for i, n := range trace {
		if n == 0 {
			continue
		}
		if last >= 0 {
			out = append(out, pause{time.Duration(i-last) * time.Second, n, i})
		}
		last = i
	}
	return out
}

// slept is what a rule for the idle timeout gave.
type slept struct {
	requests, cold float64
	awake          time.Duration
}

func (s *slept) add(p pause, timeout time.Duration) {
	s.requests += float64(p.requests)
	s.awake += min(p.idle, timeout)
	if p.idle > timeout {
		s.cold++
	}
}

func (s *slept) String() string { return fmt.Sprintf("%.2f %%", 100*s.cold/s.requests) }

// awakeFor is the part of the whole time in which the site was awake.
func (s *slept) awakeFor(seconds int) string {
	return fmt.Sprintf("%.0f %%", 100*s.awake.Seconds()/float64(seconds))
}

func traceTables(r *report, folder string) error {
	trace, err := readTrace(folder)
	if err != nil {
		return err
	}
	r.printf("### Idle timeouts on a real site's requests\n\nNASA's web server, July and August 1995 (3.46 million requests), and the same with fewer visitors (blocks of ten seconds kept by chance). " +
		"Share of the requests that find the site asleep, and how much of the time it is awake, by where the timeout comes from. The last column is the one fixed timeout that would have been right, known afterwards.\n\n" +
		"| requests | asked for | closed form (Gamma-Poisson) | histogram of pauses | controller | fixed, in hindsight |\n|---|---|---|---|---|---|\n")
	for _, k := range []int{1, 10, 100, 1000} {
		thinned := thin(trace, k)
		for _, share := range []float64{0.01, 0.001} {
			idleRow(r, thinned, share)
		}
	}
	estimated, poisson := alarms(trace, false), alarms(trace, true)
	r.printf("\n### Alarms on a real site's requests\n\nThe same trace through the kernel's CUSUM, with a baseline that is learned as the node does. A day has 59,000 requests, and real changes "+
		"(mornings, news), so that not each alarm is a false one; without the overdispersion each page is a change.\n\n| | alarms a day |\n|---|---|\n| overdispersion estimated (φ = %.1f in the end) | %s |\n| taken for a Poisson process | %s |\n\n",
		estimated.last, estimated, poisson)
	return nil
}

func idleRow(r *report, trace []int, share float64) {
	var form, histogram, steered, best slept
	rate := change.Rate{HalfLife: 24 * time.Hour}
	var gaps sleep.Gaps
	var control *sleep.IdleControl
	all := pauses(trace)
	fed, requests := 0, 0
	for _, p := range all {
		timeout := sleep.IdleTimeoutUnknown(rate.Posterior(), share)
		if control == nil {
			control = sleep.NewIdleControl(share, timeout)
		}
		form.add(p, timeout)
		steered.add(p, control.Timeout())
		if gaps.Count() >= 200 {
			timeout = gaps.IdleFor(share)
		}
		histogram.add(p, timeout)
		cold := uint64(0)
		if p.idle > control.Timeout() {
			cold = 1
		}
		control.Observe(uint64(p.requests), cold)
		gaps.Add(p.idle)
		gaps.Served(uint64(p.requests))
		requests += p.requests
		if p.at-fed >= 60 {
			rate.Add(float64(requests), time.Duration(p.at-fed)*time.Second)
			fed, requests = p.at, 0
		}
	}
	fixed := hindsight(all, share)
	for _, p := range all {
		best.add(p, fixed)
	}
	n := len(trace)
	r.printf("| %.0f | %.1f %% | %s (awake %s) | %s (%s) | %s (%s) | %s (%s, %v) |\n", form.requests, 100*share,
		&form, form.awakeFor(n), &histogram, histogram.awakeFor(n), &steered, steered.awakeFor(n), &best, best.awakeFor(n), fixed)
}

// hindsight is the shortest fixed timeout that keeps the share.
func hindsight(all []pause, share float64) time.Duration {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b pause) int { return cmp.Compare(b.idle, a.idle) })
	total := 0
	for _, p := range all {
		total += p.requests
	}
	allowed := int(share * float64(total))
	if allowed >= len(sorted) {
		return 0
	}
	return sorted[allowed].idle
}

// alarmCount is what the CUSUM said of a trace.
type alarmCount struct {
	alarms int
	days   float64
	last   float64 // φ
}

func (a alarmCount) String() string { return fmt.Sprintf("%.1f", float64(a.alarms)/a.days) }

// alarms plays a trace through the integers of the kernel; the requests of a second are
// spread over it by chance.
func alarms(trace []int, poisson bool) alarmCount {
	rnd := rand.New(rand.NewPCG(1, 22))
	var normal change.Normal
	var params change.CusumParams
	var state change.CusumState
	count := alarmCount{days: float64(len(trace)) / 86400}
	at := make([]uint64, 0, 32)
	for second, n := range trace {
		now := 1<<50 + uint64(second)*1e9
		at = at[:0]
		for range n {
			at = append(at, now+rnd.Uint64N(1e9))
		}
		slices.Sort(at)
		for _, a := range at {
			if state.Arrival(&params, a) != 0 {
				count.alarms++
			}
		}
		normal.Observe(float64(n), time.Second, state.Alarms(&params, now+1e9) != 0)
		if b, changed := normal.Changed(); changed {
			count.last = b.Phi
			if poisson {
				b.Phi = 1
			}
			next := b.Params()
			state = state.Rebase(&params, &next, now+1e9)
			params = next
		}
	}
	return count
}
