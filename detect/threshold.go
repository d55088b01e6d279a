package detect

import (
	"math"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// ConnsThreshold is the number of connections of one replica past which Decide would
// ask for more replicas at once: the target, and the noise that it allows for. It is what
// the kernel is to tell of; 0 where there is no such target.
func (s *Scaler) ConnsThreshold(sig *Signals) float64 {
	target := figure.Positive(s.Targets.Conns)
	if target == 0 {
		return 0
	}
	carry := target * float64(sig.replicas())
	return (carry + margin(s.outCost(sig))*math.Sqrt(carry)) / float64(sig.replicas())
}
