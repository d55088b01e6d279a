package netctl

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// Monotonic is the machine's clock, CLOCK_MONOTONIC, as the programs in the
// kernel use it.
type Monotonic struct{}

// Now implements [Clock].
func (Monotonic) Now() time.Duration { return time.Duration(bpf.Now()) }

// AfterFunc implements [Clock].
func (Monotonic) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
