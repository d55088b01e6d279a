package detect

import (
	"math"
	"testing"
	"time"
)

// TestConnsThreshold: just below it nothing is decided, just above it there are more replicas.
func TestConnsThreshold(t *testing.T) {
	for _, target := range []float64{1, 5, 50, 1000} {
		for n := 1; n <= 7; n++ {
			s := NewScaler(Targets{Conns: target}, ActionCosts{Out: 80 * time.Millisecond})
			sig := func(each float64) Signals {
				conns := make([]uint64, n)
				for i := range conns {
					conns[i] = uint64(each)
				}
				return Signals{Conns: conns, Replicas: Replicas{Now: n, Max: 15}}
			}
			one := sig(0)
			each := s.ConnsThreshold(&one)
			if each < target {
				t.Errorf("target %v, %d replicas: threshold %v", target, n, each)
			}
			if d := s.Decide(time.Second, sig(math.Floor(each))); d.Kind == Out {
				t.Errorf("target %v, %d replicas: %v at %v connections, threshold %v", target, n, d, math.Floor(each), each)
			}
			if d := s.Decide(2*time.Second, sig(math.Floor(each)+1)); d.Kind != Out {
				t.Errorf("target %v, %d replicas: %v at %v connections, threshold %v", target, n, d, math.Floor(each)+1, each)
			}
		}
	}
	none := Signals{Conns: []uint64{9}}
	if got := NewScaler(Targets{}, ActionCosts{}).ConnsThreshold(&none); got != 0 {
		t.Errorf("without a target: %v", got)
	}
}
