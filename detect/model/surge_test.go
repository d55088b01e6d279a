package model

import (
	"math"
	"testing"
)

// A surge is seen by every watcher that is not too deaf, later the deafer it is; and the
// stream has the overdispersion that it was made with.
func TestWatchersSeeASurge(t *testing.T) {
	seconds := make([]int, 12*3600)
	for i := range seconds {
		seconds[i] = i % 3
	}
	s := VisitorStream(seconds, 1.7, 1)
	at := []int{7200, 14400, 21600, 28800, 36000}
	surged := s.Surge(at, 300, 8, 1.7, 1)
	for _, w := range Watchers {
		low, high := w.Thresholds[0], w.Thresholds[len(w.Thresholds)/2]
		a, b := mean(Delays(w.Make(low), surged.Visitors, at, 300)), mean(Delays(w.Make(high), surged.Visitors, at, 300))
		if a >= 200 || !math.IsNaN(b) && b < a-1 {
			t.Errorf("%s: %.0f s with threshold %v, %.0f s with %v", w.Name, a, low, b, high)
		}
		if few, many := Alarms(w.Make(w.Thresholds[len(w.Thresholds)-1]), s.Visitors), Alarms(w.Make(low), s.Visitors); few > many {
			t.Errorf("%s: %d false alarms when deaf, %d when not", w.Name, few, many)
		}
	}
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func TestVisitorStreamHasItsOverdispersion(t *testing.T) {
	seconds := make([]int, 48*3600)
	for i := range seconds {
		seconds[i] = 1
	}
	s := VisitorStream(seconds, 1.7, 2)
	for name, c := range map[string]struct {
		counts []int
		phi    float64
	}{"requests": {s.Requests, 2.4}, "visitors": {s.Visitors, 1}} {
		var sum, square, n float64
		for i := 0; i+20 <= len(c.counts); i += 20 {
			x := 0.0
			for _, v := range c.counts[i : i+20] {
				x += float64(v)
			}
			sum, square, n = sum+x, square+x*x, n+1
		}
		m := sum / n
		if phi := (square/n - m*m) / m; math.Abs(phi-c.phi) > 0.15*c.phi {
			t.Errorf("%s: φ = %.2f, not %v", name, phi, c.phi)
		}
	}
}
