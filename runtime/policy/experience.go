package policy

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/event"
)

const (
	// wakesKept is how many wakes from each tier are remembered: enough for a
	// median that one slow disk does not move, few enough to follow a new version
	// of the application.
	wakesKept = 8
	// A tier that failed is not tried again before this, which doubles.
	giveUpMin = time.Minute
	giveUpMax = 24 * time.Hour
)

// EnoughAnswers is how many say something of how long they take.
const EnoughAnswers = 3

// Experience is what a site has taught about its tiers. It is in a file of its
// own, and in memory while the site is not simply parked.
type Experience struct {
	Tiers  map[detect.Tier]*TierExperience `json:"tiers"`
	Ladder string                          `json:"ladder,omitempty"` // as it was told last
	Answer time.Duration                   `json:"answer,omitempty"` // median of the running site's; 0: not known

	Visitors sleep.Visitors `json:"visitors,omitzero"` // of a site with an objective
	Woke     time.Time      `json:"woke,omitzero"`     // its last wake that they count

	// Price is that of a second of waiting, of a site with an objective of its own.
	Price *Steered  `json:"price,omitempty"`
	Told  time.Time `json:"told,omitzero"` // when its ladder was

	// State is what plans rest on: its pauses, and what plans have cost it.
	State *sleep.State `json:"state,omitempty"`

	Ended Ended `json:"ended,omitzero"`
}

// Pauses is the site's state, to be changed.
func (x *Experience) Pauses() *sleep.State {
	if x.State == nil {
		x.State = &sleep.State{}
	}
	return x.State
}

// Ended is what the kernel has counted for replicas that are gone, so that a site's
// counters only grow.
type Ended struct {
	Load     bpf.Load `json:"load"`
	Replicas []uint32 `json:"replicas"` // the last of them: a daemon that dies before it has removed one finds it again
}

// endedKept is more than can be on their way out at once.
const endedKept = 64

// Add takes a replica in, once.
func (e *Ended) Add(id bpf.ReplicaID, l bpf.Load) {
	if slices.Contains(e.Replicas, uint32(id)) {
		return
	}
	e.Load = e.Load.Add(l)
	e.Replicas = append(e.Replicas, uint32(id))
	e.Replicas = slices.Clone(e.Replicas[max(0, len(e.Replicas)-endedKept):])
}

// TierExperience is what one tier has taught.
type TierExperience struct {
	Wakes  []time.Duration `json:"wakes,omitempty"`  // what they added to the first answer, the newest last
	Memory uint64          `json:"memory,omitempty"` // held on the tier, in bytes; 0: not known
	Disk   uint64          `json:"disk,omitempty"`
	Failed int             `json:"failed,omitempty"` // in a row
	Until  time.Time       `json:"until,omitzero"`   // not tried again before
	Why    string          `json:"why,omitempty"`
}

// NewExperience is that of a site that has taught nothing.
func NewExperience() *Experience { return &Experience{Tiers: map[detect.Tier]*TierExperience{}} }

// Clone is what is known now: of a live site it may be read when its lock is given back.
func (x *Experience) Clone() *Experience {
	out := *x
	out.Tiers = make(map[detect.Tier]*TierExperience, len(x.Tiers))
	for name, t := range x.Tiers {
		tier := *t
		tier.Wakes = slices.Clone(t.Wakes)
		out.Tiers[name] = &tier
	}
	if x.State != nil {
		state := *x.State
		out.State = &state
	}
	if x.Price != nil {
		price := *x.Price
		out.Price = &price
	}
	out.Ended.Replicas = slices.Clone(x.Ended.Replicas)
	return &out
}

// Tier is what one tier has taught.
func (x *Experience) Tier(t detect.Tier) *TierExperience {
	if x.Tiers[t] == nil {
		x.Tiers[t] = &TierExperience{}
	}
	return x.Tiers[t]
}

// AddWake notes what a wake from the tier has added to the first answer.
func (t *TierExperience) AddWake(took time.Duration) {
	t.Wakes = append(t.Wakes, took)
	t.Wakes = slices.Clone(t.Wakes[max(0, len(t.Wakes)-wakesKept):])
}

// GiveUp gives the tier up for a while.
func (t *TierExperience) GiveUp(now time.Time, why string) {
	wait := giveUpMin
	for range t.Failed {
		wait = min(2*wait, giveUpMax)
	}
	t.Failed++
	t.Until, t.Why = now.Add(wait), why
}

// Worked ends the time for which the tier was given up.
func (t *TierExperience) Worked() { t.Failed, t.Until, t.Why = 0, time.Time{}, "" }

// median of the wakes; 0 without any.
func (t *TierExperience) median() time.Duration {
	if len(t.Wakes) == 0 {
		return 0
	}
	sorted := slices.Clone(t.Wakes)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// costs in the form that detect decides by.
func (x *Experience) costs() []sleep.TierCost {
	out := make([]sleep.TierCost, 0, len(x.Tiers))
	for name, t := range x.Tiers {
		c := sleep.TierCost{
			Tier: name, Samples: len(t.Wakes), Median: t.median(),
			Memory: float64(t.Memory), Disk: float64(t.Disk), HeldKnown: t.Memory+t.Disk > 0,
		}
		if len(t.Wakes) > 0 {
			c.P99 = slices.Max(t.Wakes)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b sleep.TierCost) int { return a.Tier.Depth() - b.Tier.Depth() })
	return out
}

// Added is what a wake has added to the first answer: the time to it, less what
// the running site takes for one, but never less than until the site ran.
func Added(t event.Trace, answer time.Duration) (took time.Duration, ok bool) {
	var ran time.Duration
	for _, s := range t.Steps {
		switch s.Name {
		case event.StepThawed, event.StepReleased:
			ran = s.At.Duration()
		case event.StepFirstByte:
			took, ok = s.At.Duration(), true
		}
	}
	return max(took-answer, ran), ok
}

// CountWake takes a wake into account, with all connections since the last one: took is what
// it has added to its visitor's first answer.
func (x *Experience) CountWake(came uint64, took, since time.Duration, share float64) {
	asleep := uint64(0)
	if took > sleep.Noticeable {
		asleep = 1
	}
	x.Visitors.Observe(max(1, came), asleep, since, share)
}
