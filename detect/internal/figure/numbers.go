package figure

import (
	"math"
	"time"
)

// Clamp returns v within [low, high], and otherwise for what is no number. An estimate
// that went wrong must not become a decision.
func Clamp(v, low, high, otherwise float64) float64 {
	if math.IsNaN(v) {
		return otherwise
	}
	return min(max(v, low), high)
}

// Seconds as a duration; what does not fit is the longest there is.
func Seconds(s float64) time.Duration {
	if math.IsNaN(s) || s >= math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(max(0, s) * 1e9)
}

// Positive returns v, or 0 for what is negative or no finite number.
func Positive(v float64) float64 {
	if !(v > 0) || math.IsInf(v, 1) {
		return 0
	}
	return v
}
