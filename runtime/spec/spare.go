package spec

import (
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Spare are replicas that stand ready to be added. In a file a plain number is Count, and a tier alone is one on it.
type Spare struct {
	// Count is how many replicas stand ready, 0 up to what scale.max allows beyond those that serve. Default: 0; 1 where tier is given.
	Count int `json:"count,omitzero" also:"number,replicas,size"`
	// Tier is how they stand ready: frozen (started, serves within a millisecond or so, holds its memory) or prepared (a container
	// that waits to start, holds next to nothing). Default: frozen.
	Tier string `json:"tier,omitzero" also:"as,kind"`
}

// spareTiers are those on which a replica can wait to be added.
var spareTiers = []string{TierFrozen, TierPrepared}

const spareAllowed = "a number of replicas, frozen, prepared"

// complete fills in what follows from the other.
func (s *Spare) complete() {
	switch {
	case s.Count > 0 && s.Tier == "":
		s.Tier = TierFrozen
	case s.Count == 0 && s.Tier != "":
		s.Count = 1
	}
}

// DecodeScalar implements strictyaml.ScalarDecoder.
func (s *Spare) DecodeScalar(v strictyaml.Scalar) error {
	*s = Spare{}
	if v.Kind == strictyaml.KindString {
		if v.Text == "" {
			return strictyaml.Bad(spareAllowed, "is empty")
		}
		s.Tier = v.Text
		return nil
	}
	count, err := v.Int(32)
	s.Count = int(count)
	return err
}

// spare checks the replicas that stand ready to be added.
func (c checker) spare(s Scale) {
	most := s.Max - max(1, s.Min)
	switch n := s.Spare.Count; {
	case n == 0:
		return
	case n < 0 || n > maxReplicas:
		c.bad("scale.spare.count", "0 up to scale.max less those that serve", "%d replicas", n)
		return
	case most <= 0:
		c.bad("scale.spare", "a larger scale.max", "has no effect: the site is never scaled out")
	case n > most:
		c.bad("scale.spare.count", "up to scale.max less scale.min, at least one of which serves", "%d more than those that always serve are more than scale.max, %d", n, s.Max)
	}
	if !slices.Contains(spareTiers, s.Spare.Tier) {
		hint := ""
		if guess := strictyaml.Suggest(s.Spare.Tier, spareTiers); guess != "" {
			hint = "; did you mean " + guess + "?"
		}
		c.bad("scale.spare.tier", strings.Join(spareTiers, ", "), "%q is no tier to wait on%s", s.Spare.Tier, hint)
	}
}
