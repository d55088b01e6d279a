package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/change"
	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Poisson is a site whose visitors come independently of each other, and that takes
// a time to start: the special case in which the service level has closed forms. Real
// visitors are not like that (plans go by their pauses), but an operator can reckon with it:
// what does this timeout give, and what does this service level take?
type Poisson struct {
	Rate  float64 // visitors a second
	Start time.Duration
}

// Service is what visitors get.
type Service struct {
	Delayed float64       // share that waits at all
	Wait    time.Duration // on average, of all
	Up      float64       // share of the time in which the site is up or on its way
}

// Idle is the service of a site that sleeps after an idle time. With N = λS + e^(λT)
// visitors a cycle, of which 1+λS come before it is up:
//
//	delayed (1+λS)/N, mean wait (S+λS²/2)/N
func (p Poisson) Idle(timeout time.Duration) Service {
	l, s := figure.Positive(p.Rate), p.Start.Seconds()
	// Up from the first visitor of a cycle on; asleep for 1/λ until the next.
	n := l*s + math.Exp(l*timeout.Seconds())
	return Service{ShareDelayedIdle(p.Rate, p.Start, timeout), MeanWait(p.Rate, p.Start, timeout), figure.Clamp((n-1)/n, 0, 1, 1)}
}

// Lifetime is the service of a site that is stopped a fixed time after it was up,
// N = 1 + λ(S+L).
func (p Poisson) Lifetime(lifetime time.Duration) Service {
	l, s := figure.Positive(p.Rate), p.Start.Seconds()
	n := 1 + l*(s+lifetime.Seconds())
	return Service{ShareDelayedLifetime(p.Rate, p.Start, lifetime), figure.Seconds((s + l*s*s/2) / n), figure.Clamp((n-1)/n, 0, 1, 1)}
}

// Beyond is the share of visitors that waits longer than w, of a site that sleeps
// after an idle time.
func (p Poisson) Beyond(timeout, w time.Duration) float64 {
	return ShareWaiting(p.Rate, p.Start, timeout, w)
}

// IdleFor is the idle time for a share of delayed visitors, LifetimeFor the lifetime.
func (p Poisson) IdleFor(share float64) time.Duration { return IdleTimeout(p.Rate, p.Start, share) }

// LifetimeFor is the lifetime for a share of delayed visitors.
func (p Poisson) LifetimeFor(share float64) time.Duration { return LifetimeFor(p.Rate, p.Start, share) }

// cycle is how many visitors a cycle must have for a mean wait.
func (p Poisson) cycle(wait time.Duration) (l, s, n float64) {
	l, s = max(change.MinLambda, figure.Positive(p.Rate)), p.Start.Seconds()
	return l, s, (s + l*s*s/2) / max(wait.Seconds(), 1e-9)
}

// IdleForWait is the idle time for a mean wait; 0 if that is met without any.
func (p Poisson) IdleForWait(wait time.Duration) time.Duration {
	l, s, n := p.cycle(wait)
	return figure.Seconds(math.Log(max(n-l*s, 1)) / l)
}

// LifetimeForWait is the lifetime for a mean wait; 0 if that is met without any.
func (p Poisson) LifetimeForWait(wait time.Duration) time.Duration {
	l, s, n := p.cycle(wait)
	return figure.Seconds((n-1)/l - s)
}
