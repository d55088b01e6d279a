package node

import (
	"errors"
	"slices"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
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

// enoughAnswers is how many say something of how long they take.
const enoughAnswers = 3

// experience is what a site has taught about its tiers. It is in a file of its
// own, and in memory while the site is not simply parked.
type experience struct {
	Tiers  map[site.Tier]*tierExperience `json:"tiers"`
	Ladder string                        `json:"ladder,omitempty"` // as it was told last
	Answer time.Duration                 `json:"answer,omitempty"` // median of the running site's; 0: not known

	Visitors sleep.Visitors `json:"visitors,omitzero"` // of a site with an objective
	Woke     time.Time      `json:"woke,omitzero"`     // its last wake that they count
}

// tierExperience is what one tier has taught.
type tierExperience struct {
	Wakes  []time.Duration `json:"wakes,omitempty"`  // what they added to the first answer, the newest last
	Memory uint64          `json:"memory,omitempty"` // held on the tier, in bytes; 0: not known
	Disk   uint64          `json:"disk,omitempty"`
	Failed int             `json:"failed,omitempty"` // in a row
	Until  time.Time       `json:"until,omitzero"`   // not tried again before
	Why    string          `json:"why,omitempty"`
}

func newExperience() *experience { return &experience{Tiers: map[site.Tier]*tierExperience{}} }

func (x *experience) tier(t site.Tier) *tierExperience {
	if x.Tiers[t] == nil {
		x.Tiers[t] = &tierExperience{}
	}
	return x.Tiers[t]
}

func (t *tierExperience) woke(took time.Duration) {
	t.Wakes = append(t.Wakes, took)
	t.Wakes = slices.Clone(t.Wakes[max(0, len(t.Wakes)-wakesKept):])
}

// failed gives the tier up for a while.
func (t *tierExperience) failed(now time.Time, why string) {
	wait := giveUpMin
	for range t.Failed {
		wait = min(2*wait, giveUpMax)
	}
	t.Failed++
	t.Until, t.Why = now.Add(wait), why
}

func (t *tierExperience) worked() { t.Failed, t.Until, t.Why = 0, time.Time{}, "" }

// median of the wakes; 0 without any.
func (t *tierExperience) median() time.Duration {
	if len(t.Wakes) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.Wakes))
	return sorted[len(sorted)/2]
}

// costs in the form that detect decides by.
func (x *experience) costs() []sleep.TierCost {
	var out []sleep.TierCost
	for name, t := range x.Tiers {
		c := sleep.TierCost{
			Tier: detect.Tier(name), Samples: len(t.Wakes), Median: t.median(),
			Memory: float64(t.Memory), Disk: float64(t.Disk), HeldKnown: t.Memory+t.Disk > 0,
		}
		if len(t.Wakes) > 0 {
			c.P99 = slices.Max(t.Wakes)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b sleep.TierCost) int { return site.Tier(a.Tier).Depth() - site.Tier(b.Tier).Depth() })
	return out
}

// learn takes a finished wake into account. The caller holds e.mu.
func (n *Node) learn(e *entry, w *wakeTrace) {
	t := w.current()
	from := site.Tier(t.From)
	if e.active == nil || from.Depth() <= 0 || len(t.Steps) == 0 {
		return
	}
	x := n.experience(e)
	took, ok := added(t, x.Answer)
	if !ok {
		return
	}
	x.tier(from).woke(took)
	x.tier(from).worked()
	n.learnVisits(e, x, took, time.Now())
	n.learnt(e)
}

// added is what a wake has added to the first answer: the time to it, less what
// the running site takes for one, but never less than until the site ran.
func added(t api.Trace, answer time.Duration) (took time.Duration, ok bool) {
	var ran time.Duration
	for _, s := range t.Steps {
		switch s.Name {
		case api.StepThawed, api.StepReleased:
			ran = s.At.Duration()
		case api.StepFirstByte:
			took, ok = s.At.Duration(), true
		}
	}
	return max(took-answer, ran), ok
}

// learnHeld notes what a replica holds that has gone to sleep, and how quick it
// was before. The caller holds e.mu.
func (n *Node) learnHeld(e *entry, d *descent) {
	if d.memory+d.disk == 0 && d.answer == 0 {
		return
	}
	x := n.experience(e)
	t := x.tier(d.tier)
	t.Memory, t.Disk = d.memory, d.disk
	if d.answer > 0 {
		x.Answer = d.answer
	}
	n.learnt(e)
}

// learnFailure gives a tier up for a while that could not be reached. The caller
// holds e.mu.
func (n *Node) learnFailure(e *entry, tier site.Tier, err error) {
	if errors.Is(err, errNotWarm) {
		return // the next time, perhaps
	}
	if tier == site.TierCheckpointed && n.canCheckpoint() != nil {
		return // it is the machine that cannot
	}
	n.experience(e).tier(tier).failed(time.Now(), err.Error())
	n.learnt(e)
}

// experience of a site that is awake. The caller holds e.mu.
func (n *Node) experience(e *entry) *experience {
	if e.active.experience == nil {
		e.active.experience = n.loadExperience(e.name)
	}
	return e.active.experience
}

// learnt acts on new experience: the machine gets its ladder, and the next daemon
// finds it. The caller holds e.mu.
func (n *Node) learnt(e *entry) {
	a := e.active
	a.machine.SetPolicy(n.policy(e, a.spec))
	n.tellLadder(e)
	if err := n.experiences.put(e.name, a.experience); err != nil {
		n.notKept(e.name, err)
	}
}

func (n *Node) notKept(siteName string, err error) {
	n.log.Error("what was learnt of a site is not kept", "site", siteName, "error", err)
}

// recall reads what the site has taught before, in the background: its visitor
// does not wait for it. The caller holds e.mu.
func (n *Node) recall(e *entry) {
	n.work.Go(func() {
		x := n.loadExperience(e.name)
		e.mu.Lock()
		defer e.mu.Unlock()
		if a := e.active; a != nil && a.experience == nil {
			a.experience = x
			n.newLadder(e)
		}
	})
}

// loadExperience gives it; what cannot be read is learnt anew.
func (n *Node) loadExperience(siteName string) *experience {
	x, err := n.experiences.load(siteName)
	if err != nil {
		n.moveAside(n.cfg.StateDir, n.experiences.file(siteName), siteName, err, "what was learnt of the site is learnt anew")
	}
	return x
}
