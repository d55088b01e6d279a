package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Objective is the service level that a site asks for. Zero fields ask for nothing.
type Objective struct {
	Cold float64       // share of the requests that may find it asleep
	Wake time.Duration // what a wake may add to a request, at p99
}

// ShareDelayedIdle is the share of requests that are delayed by a start when a site is
// put to sleep after an idle time, under Poisson arrivals: (1+λS)/(λS+e^(λT)).
func ShareDelayedIdle(lambda float64, start, idle time.Duration) float64 {
	ls := figure.Positive(lambda) * start.Seconds()
	return figure.Clamp((1+ls)/(ls+math.Exp(figure.Positive(lambda)*idle.Seconds())), 0, 1, 1)
}

// ShareDelayedLifetime is the same for a site that is stopped a fixed time after its
// start, whatever it does: (1+λS)/(1+λ(S+L)).
func ShareDelayedLifetime(lambda float64, start, lifetime time.Duration) float64 {
	l, s := figure.Positive(lambda), start.Seconds()
	return figure.Clamp((1+l*s)/(1+l*(s+lifetime.Seconds())), 0, 1, 1)
}

// ShareWaiting is the share of requests that wait longer than w, with an idle timeout:
// (1+λ(S-w))/(λS+e^(λT)) for w < S.
func ShareWaiting(lambda float64, start, idle, w time.Duration) float64 {
	if w >= start {
		return 0
	}
	l := figure.Positive(lambda)
	return figure.Clamp((1+l*(start-w).Seconds())/(l*start.Seconds()+math.Exp(l*idle.Seconds())), 0, 1, 1)
}

// MeanWait is what starts add to a request on average, with an idle timeout:
// (S+λS²/2)/(λS+e^(λT)).
func MeanWait(lambda float64, start, idle time.Duration) time.Duration {
	l, s := figure.Positive(lambda), start.Seconds()
	return figure.Seconds((s + l*s*s/2) / (l*s + math.Exp(l*idle.Seconds())))
}

// LifetimeFor is the fixed lifetime that delays a share of the requests:
// (1/λ+S)(1/ε-1).
func LifetimeFor(lambda float64, start time.Duration, share float64) time.Duration {
	share = figure.Clamp(share, 1e-9, 1, 1e-9)
	return figure.Seconds((1/max(change.MinLambda, figure.Positive(lambda)) + start.Seconds()) * (1/share - 1))
}

// IdleTimeout is the idle time after which a site may sleep so that a share of the
// requests is delayed, if its rate is known and arrivals are Poisson:
// ln((1+λS)/ε-λS)/λ.
func IdleTimeout(lambda float64, start time.Duration, share float64) time.Duration {
	l := max(change.MinLambda, figure.Positive(lambda))
	ls := l * start.Seconds()
	return figure.Seconds(math.Log((1+ls)/figure.Clamp(share, 1e-9, 1, 1e-9)-ls) / l)
}

// IdleTimeoutUnknown is the same for a rate that is known only as a Gamma
// distribution, and short starts. The share of requests that come after a gap longer
// than T is (b/(b+T))^(a+1), so T = b(ε^(-1/(a+1))-1).
func IdleTimeoutUnknown(rate change.Gamma, share float64) time.Duration {
	share = figure.Clamp(share, 1e-9, 1, 1e-9)
	return figure.Seconds(figure.Positive(rate.Seconds) * (math.Pow(share, -1/(figure.Positive(rate.Shape)+1)) - 1))
}

// Bounds of the timeout that IdleControl gives.
const (
	minIdle = time.Second
	maxIdle = 7 * 24 * time.Hour
)

// idleStep is η: a visitor who found the site asleep lengthens the timeout by so much.
const idleStep = 0.1

// IdleControl steers the idle timeout of a site to the share of requests that may find
// it asleep: ln T += η(1{asleep} - ε) with each request. It needs no model of the
// arrivals; the closed forms only tell it where to start, since it learns
// little before a few hundred requests.
type IdleControl struct {
	share  float64
	logT   float64
	count  uint64
	asleep uint64
}

// NewIdleControl starts from a timeout, or with 0 from what an unknown rate gives.
func NewIdleControl(share float64, start time.Duration) *IdleControl {
	c := &IdleControl{share: figure.Clamp(share, 1e-6, 1, 0.01)}
	if start <= 0 {
		start = IdleTimeoutUnknown(new(change.Rate).Posterior(), c.share)
	}
	c.logT = math.Log(start.Seconds())
	c.bound()
	return c
}

func (c *IdleControl) bound() {
	c.logT = figure.Clamp(c.logT, math.Log(minIdle.Seconds()), math.Log(maxIdle.Seconds()), math.Log(maxIdle.Seconds()))
}

// Observe takes requests into account, of which so many found the site asleep.
func (c *IdleControl) Observe(requests, asleep uint64) {
	asleep = min(asleep, requests)
	c.count += requests
	c.asleep += asleep
	c.logT += idleStep * (float64(asleep) - c.share*float64(requests))
	c.bound()
}

// Timeout is the idle time after which the site may sleep.
func (c *IdleControl) Timeout() time.Duration { return figure.Seconds(math.Exp(c.logT)) }

// Share is what part of the requests found the site asleep so far, and of how many.
func (c *IdleControl) Share() (float64, uint64) {
	if c.count == 0 {
		return 0, 0
	}
	return float64(c.asleep) / float64(c.count), c.count
}
