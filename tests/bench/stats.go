package main

import (
	"fmt"
	"slices"
	"time"
)

// series is what several runs gave.
type series []time.Duration

func (s series) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s series) median() time.Duration { return s.quantile(0.5) }

// row is minimum, median and p95 for a table.
func (s series) row() string {
	return fmt.Sprintf("%s | %s | %s", show(s.quantile(0)), show(s.median()), show(s.quantile(0.95)))
}

func show(d time.Duration) string {
	switch {
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// ratio of two medians.
func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func medianOf(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

func (s series) floats() []float64 {
	out := make([]float64, len(s))
	for i, d := range s {
		out[i] = float64(d)
	}
	return out
}

// ratios of what was measured in the same rounds.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}
