package detect

import (
	"fmt"
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

const (
	// The share of its largest CPU limit that a replica uses when all goes well.
	goodCPU = 0.7
	// The same after one has been given back: lower, so that it is not missed at once.
	calmCPU = 0.5
	// The share of throttled periods that more replicas are for.
	mostThrottled = 0.5
	// Fewer answers than this say nothing of a p99.
	fewAnswers = 100
	// A queue shorter than this is one glance of a busy server.
	shortQueue = 8
)

// wish is how many replicas one signal asks for.
type wish struct {
	replicas int
	urgent   bool // there is no time to see whether a higher limit helps
	slow     bool // it is for the sake of latency
	reason   string
	evidence Evidence
}

// out adds replicas, or raises the CPU limit first while that can still help.
func (s *Scaler) out(at time.Duration, sig *Signals) Decision {
	n, most := sig.replicas(), max(1, sig.Replicas.Max)
	w, again := s.wish(at, sig, n)
	if w.replicas <= n {
		return Decision{Kind: None, Again: again}
	}
	if d, wait := s.raiseFirst(at, sig, w, n); d.Kind != None || wait {
		return d
	}
	want := min(w.replicas, most)
	if want <= n {
		return Decision{Kind: None, Reason: w.reason + ", but there are as many replicas as there may be", Evidence: []Evidence{w.evidence}}
	}
	if s.everIn && at-s.lastIn < s.inHold() {
		s.patience = min(s.patience+1, mostPatience) // that replica was given back too soon
	}
	s.slow = 0
	if w.slow {
		s.slow, s.slowEach = sig.Latency.P99, sig.conns()/float64(n)
	}
	s.lastOut, s.everOut = at, true
	s.need.reset()
	return Decision{Kind: Out, Replicas: want, Reason: w.reason, Evidence: []Evidence{w.evidence}}
}

// raiseFirst raises the CPU limit if that is what the load lacks, and gives it the
// time to show.
func (s *Scaler) raiseFirst(at time.Duration, sig *Signals, w wish, n int) (Decision, bool) {
	l := slot{name: CPU, r: &sig.CPU, st: &s.limits[2]} // as in resources
	r, st := l.r, l.st
	if !r.Limit.known() || w.urgent {
		return Decision{Kind: None}, false
	}
	pause := visibleAfter(sig, s.Costs.complete().Limit)
	if wait := pause - (at - st.changed); st.ever && r.Limit.Now > 0 && wait > 0 {
		return Decision{Kind: None, Reason: w.reason + "; the higher limit has to show first", Again: wait}, true
	}
	busy := r.Used > r.Limit.Now/2 || r.Hits > shortThrottled/2
	to := s.Policy.Raise(r.Limit, r.Limit.Now*float64(w.replicas)/float64(n))
	if !busy || to <= 1.001*r.Limit.Now {
		return Decision{Kind: None}, false
	}
	return s.up(at, l, to, w.reason+", and the CPU limit can still be raised", []Evidence{w.evidence}), false
}

// outCost is what one more replica costs.
func (s *Scaler) outCost(sig *Signals) time.Duration {
	c := s.Costs.complete()
	if sig.Replicas.Spare > 0 {
		return c.OutSpare
	}
	return c.Out
}

// wish is the largest of what the signals ask for; if nothing yet, again is when to
// look again.
func (s *Scaler) wish(at time.Duration, sig *Signals, n int) (best wish, again time.Duration) {
	cost := s.outCost(sig)
	many, sure := s.wishConns(sig, n)
	slow, busy := s.wishLatency(at, sig, n), wishCPU(sig, n)
	lasts := s.lasting(at, sig, cost, many.replicas > 0 || slow.replicas > 0 || busy.replicas > 0)
	switch {
	case sure || lasts:
		best = many
	case many.replicas > 0:
		again = lookSoon
	}
	// The others say only "more": they are asked when the last step has had its effect.
	if sig.Replicas.Starting > 0 || s.everOut && at-s.lastOut < cost+visibleAfter(sig, cost) {
		return best, again
	}
	if !lasts {
		slow, busy = wish{}, wish{}
	}
	for _, w := range []wish{wishQueue(sig, n), slow, busy} {
		if w.replicas > best.replicas {
			best = w
		}
	}
	return best, again
}

const (
	// look is about how often signals are new.
	look = time.Second
	// lookSoon is when to look again at a load that is too high, but could be chance.
	lookSoon = 50 * time.Millisecond
)

// lasting says whether a state has lasted long enough to be believed. A look that shows
// it by chance is taken for one in ten, so as many looks in a row are wanted as make acting on
// chance cost at most regret. While the CUSUM alarms, that is evidence enough.
func (s *Scaler) lasting(at time.Duration, sig *Signals, cost time.Duration, now bool) bool {
	if !now {
		s.badKnown = false
		return false
	}
	if !s.badKnown {
		s.bad, s.badKnown = at, true
	}
	more := math.Ceil(math.Log10(1+cost.Seconds()/regret.Seconds())) - 1
	return sig.Alarm != 0 || at-s.bad >= time.Duration(more)*look
}

// wishConns follows the target of connections a replica. It is sure when the load is
// further beyond what the replicas carry than chance would bring it, or the CUSUM says that
// it has changed.
func (s *Scaler) wishConns(sig *Signals, n int) (w wish, sure bool) {
	target := figure.Positive(s.Targets.Conns)
	load := s.flow.expect(sig)
	carry := target * float64(n)
	if target == 0 || load <= carry {
		return wish{}, false
	}
	each := load / float64(n)
	reason := fmt.Sprintf("%s connections a replica > %s", figure.Number(each), figure.Number(target))
	if load > sig.conns() {
		reason = fmt.Sprintf("%s new connections/s will make it %s", figure.Number(sig.Arrivals), reason)
	}
	w = wish{replicas: count(load / target), reason: reason, evidence: Evidence{Name: "connections a replica", Value: each, Limit: target}}
	return w, sig.Alarm != 0 || load > carry+margin(s.outCost(sig))*math.Sqrt(carry)
}

// count is a number of replicas.
func count(v float64) int { return int(math.Ceil(figure.Clamp(v, 0, 1e6, 0))) }

// wishQueue: connections wait that the application does not accept.
func wishQueue(sig *Signals, n int) wish {
	q, most := sig.AcceptQueue, sig.AcceptMax
	if most == 0 || q < shortQueue || q < most/4 {
		return wish{}
	}
	w := wish{replicas: n + 1, reason: fmt.Sprintf("%d connections wait to be accepted, of %d that may", q, most)}
	w.evidence = Evidence{Name: "accept queue", Value: float64(q), Limit: float64(most)}
	if q >= most/2 {
		w.replicas, w.urgent = 2*n, true
	}
	return w
}

// wishLatency: answers take longer than they should.
func (s *Scaler) wishLatency(at time.Duration, sig *Signals, n int) wish {
	target, l := s.Targets.Latency, sig.Latency
	if target <= 0 || l.Samples == 0 || l.P50 <= target && (l.P99 <= target || l.Samples < fewAnswers && !s.answers.slow()) {
		return wish{}
	}
	if s.inVain(at, sig, n) {
		return wish{}
	}
	w := wish{replicas: n + 1, slow: true, reason: fmt.Sprintf("p99 %s > %s", figure.Duration(l.P99), figure.Duration(target))}
	w.evidence = Evidence{Name: "p99 seconds", Value: l.P99.Seconds(), Limit: target.Seconds()}
	if l.P99 > 4*target {
		w.replicas = 2 * n
	}
	return w
}

// inVain says that the last replica was added for the sake of latency and did not help:
// it is not for want of replicas. After the longest hold it may be tried again.
func (s *Scaler) inVain(at time.Duration, sig *Signals, n int) bool {
	each := sig.conns() / float64(n)
	return s.slow > 0 && at-s.lastOut < maxHold && sig.Latency.P99 >= s.slow*9/10 && each <= 1.1*max(1, s.slowEach)
}

// wishCPU: the limit cannot be raised further, and is used up.
func wishCPU(sig *Signals, n int) wish {
	r := &sig.CPU
	_, high := r.Limit.Bounds()
	if !r.Limit.known() || r.Limit.Now < 0.999*high {
		return wish{}
	}
	used := figure.Positive(r.Used)
	if used <= fullCPU*high && r.Hits <= mostThrottled {
		return wish{}
	}
	return wish{
		replicas: max(n+1, min(2*n, count(float64(n)*used/high/goodCPU))),
		reason:   fmt.Sprintf("each replica uses %s of %s cores", figure.Number(used), figure.Number(high)),
		evidence: Evidence{Name: "cores used", Value: used, Limit: high},
	}
}

// inHold is for how long a replica must have been unneeded. Each time that one was
// missed soon after it was given back doubles it.
func (s *Scaler) inHold() time.Duration {
	c := s.Costs.complete()
	return min(hold(c.Out+c.In)<<s.patience, maxHold)
}

// in gives replicas back.
func (s *Scaler) in(at time.Duration, sig *Signals) Decision {
	n := sig.replicas()
	window := s.inHold()
	top, full := s.need.add(at, window, float64(s.needed(at, sig, n)))
	least := max(1, sig.Replicas.Min)
	want := max(least, int(top))
	most := max(1, sig.Replicas.Max)
	reason := fmt.Sprintf("%d were enough for %s", want, figure.Duration(window))
	switch {
	case n > most:
		want, reason = most, "there may be no more"
	case !full || want >= n || sig.Replicas.Starting > 0:
		return Decision{Kind: None}
	}
	if s.everIn && at-s.lastIn > 4*window && s.patience > 0 {
		s.patience--
	}
	s.lastIn, s.everIn = at, true
	s.need.reset()
	return Decision{
		Kind: In, Replicas: want, Reason: reason,
		Evidence: []Evidence{{Name: "replicas needed", Value: top, Limit: float64(n)}, {Name: "connections", Value: sig.conns()}},
	}
}

// needed is how many replicas would do, so generously that one who is given back is not
// missed because of noise.
func (s *Scaler) needed(at time.Duration, sig *Signals, n int) int {
	c := s.Costs.complete()
	need, known := 1, false
	if target := figure.Positive(s.Targets.Conns); target > 0 {
		load := s.flow.expect(sig)
		need, known = max(need, count((load+margin(c.Out+c.In)*math.Sqrt(load))/target)), true
	}
	if _, high := sig.CPU.Limit.Bounds(); sig.CPU.Limit.known() && high > 0 {
		need, known = max(need, count(float64(n)*figure.Positive(sig.CPU.Used)/high/calmCPU)), true
	}
	if target := s.Targets.Latency; target > 0 {
		known = true
		if sig.Latency.Samples > 0 && sig.Latency.P99 > target/2 && !s.inVain(at, sig, n) {
			need = max(need, n)
		} else if sig.conns() > 0 {
			need = max(need, n-1)
		}
	}
	if sig.AcceptQueue >= shortQueue || !known && sig.conns() > 0 {
		need = max(need, n)
	}
	return need
}

// MaxActions is how often a Scaler acts within a time at most, whatever load it sees:
// nothing is given back sooner than its hold, and between two times that a thing is given
// back it can only be taken up to its maximum, in so many steps. (A spec or a budget that
// changes is obeyed at once, and not counted here.)
func MaxActions(c ActionCosts, within time.Duration, steps, replicas int) (limits, outs int) {
	full := c.complete()
	cycles := func(h time.Duration) int { return int(within/h) + 1 }
	return (steps + 1) * cycles(hold(2*full.Limit)), 2 * replicas * cycles(hold(full.Out+full.In))
}
