package sleep

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// pair is a lead and a follower, as they are kept.
type pair struct {
	Lead    uint32        `json:"lead"`
	Site    uint32        `json:"site"`
	Wakes   float32       `json:"wakes"`
	Last    time.Duration `json:"last"`
	Came    float32       `json:"came"`
	Before  float32       `json:"before,omitempty"`
	Chance  float32       `json:"chance"`
	Lag     float32       `json:"lag"`
	Debt    float32       `json:"debt"`
	Sum     float32       `json:"sum"`
	Squares float32       `json:"squares"`
}

// pairsKept bounds how many are kept over the daemon's end.
const pairsKept = 256

// MarshalJSON implements json.Marshaler: the pairs that are no chance. What else was
// counted is lost without harm.
func (c *Cascades) MarshalJSON() ([]byte, error) {
	type proof struct {
		pair
		evidence float64
	}
	all := []proof{}
	for i := range c.leads {
		l := &c.leads[i]
		for k := range l.by {
			if f := &l.by[k]; l.site != 0 && f.site != 0 && f.surely() {
				all = append(all, proof{pair{l.site, f.site, l.wakes, l.last, f.came, f.before, f.chance, f.lag, f.debt, f.gain.Sum, f.gain.Squares}, f.evidence()})
			}
		}
	}
	slices.SortFunc(all, func(a, b proof) int {
		return cmp.Or(cmp.Compare(b.evidence, a.evidence), cmp.Compare(a.Lead, b.Lead), cmp.Compare(a.Site, b.Site))
	})
	out := make([]pair, 0, pairsKept)
	for _, p := range all[:min(len(all), pairsKept)] {
		out = append(out, p.pair)
	}
	return json.Marshal(out)
}

// ErrCascades says that bytes are no cascades.
var ErrCascades = errors.New("not the cascades of a node")

// UnmarshalJSON implements json.Unmarshaler. What cannot be leaves c as it is.
func (c *Cascades) UnmarshalJSON(b []byte) error {
	var pairs []pair
	if err := json.Unmarshal(b, &pairs); err != nil {
		return fmt.Errorf("%w: %w", ErrCascades, err)
	}
	out := NewCascades()
	for _, p := range pairs {
		if err := p.sane(); err != nil {
			return fmt.Errorf("%w: site %d after site %d: %w", ErrCascades, p.Site, p.Lead, err)
		}
		l := out.lead(p.Lead, p.Last)
		if l == nil {
			continue
		}
		l.wakes, l.last = max(l.wakes, p.Wakes), max(l.last, p.Last)
		for i := range l.by {
			if l.by[i].site == 0 {
				l.by[i] = follower{site: p.Site, came: p.Came, before: p.Before, chance: p.Chance, lag: p.Lag, debt: p.Debt, gain: Paired{p.Sum, p.Squares}}
				break
			}
		}
	}
	c.leads = out.leads
	return nil
}

func (p *pair) sane() error {
	switch {
	case p.Lead == 0 || p.Site == 0 || p.Lead == p.Site:
		return errors.New("no pair of sites")
	case p.Last < 0:
		return errors.New("it woke before time began")
	}
	for _, v := range []float32{p.Wakes, p.Came, p.Before, p.Chance, p.Lag, p.Squares} {
		if !(v >= 0) || math.IsInf(float64(v), 0) {
			return errors.New("a figure out of its bounds")
		}
	}
	for _, v := range []float32{p.Debt, p.Sum} {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return errors.New("a sum is no number")
		}
	}
	return nil
}
