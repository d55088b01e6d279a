package priority

import (
	"sync"
	"time"
)

// Real-time threads may take this share of one processor over a longer time,
// and the burst at once. Ordinary threads do the rest, as busy as the machine
// is: a site that makes the kernel report very often must not stop everything
// else.
const (
	realtimeShare = 0.2
	realtimeBurst = 20 * time.Millisecond
)

// Allowance is time that may be spent; it comes back with time.
type Allowance struct {
	mu   sync.Mutex
	left time.Duration
	at   uint64 // CLOCK_MONOTONIC
}

// Left says whether anything is left now.
func (a *Allowance) Left(now uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == 0 {
		a.left = realtimeBurst
	}
	if now > a.at {
		a.left = min(realtimeBurst, a.left+time.Duration(float64(now-a.at)*realtimeShare))
		a.at = now
	}
	return a.left > 0
}

// Spend takes d off; what is left may become negative.
func (a *Allowance) Spend(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left -= d
}
