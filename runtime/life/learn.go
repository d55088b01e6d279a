package life

import (
	"errors"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/policy"
)

// teach takes a finished wake into account.
func (w *wakeTrace) teach(l *Live) {
	t := w.current()
	from := t.From
	if l.Activity == nil || from.Depth() <= 0 || len(t.Steps) == 0 {
		return
	}
	x := l.experience
	took, ok := policy.Added(t, x.Answer)
	if !ok {
		return
	}
	if l.Spec.Planned() {
		l.past().late += w.late(took, l.Host.Plans.Classes.Of(l.Spec).Over)
	}
	x.Tier(from).AddWake(took)
	x.Tier(from).Worked()
	if share := l.Spec.Objective.Cold.Share(); share > 0 {
		l.past().countWake(x, took, time.Now(), share)
	}
	l.learnt()
}

// teach notes what a replica holds that has gone to sleep, and how quick it
// was before.
func (d *descent) teach(l *Live) {
	if d.memory+d.disk == 0 && d.answer == 0 {
		return
	}
	x := l.experience
	t := x.Tier(d.tier)
	t.Memory, t.Disk = d.memory, d.disk
	if d.answer > 0 {
		x.Answer = d.answer
	}
	l.learnt()
}

// learnFailure gives a tier up for a while that could not be reached.
func (l *Live) learnFailure(tier detect.Tier, err error) {
	if errors.Is(err, errNotWarm) {
		return // the next time, perhaps
	}
	if tier == detect.TierCheckpointed && l.Host.Means.CRIU.Err() != nil {
		return // it is the machine that cannot
	}
	l.experience.Tier(tier).GiveUp(time.Now(), err.Error())
	l.learnt()
}

// learnt acts on new experience: the machine gets its ladder, and the next daemon
// finds it.
func (l *Live) learnt() {
	a := l.Activity
	a.Machine.SetPolicy(l.Host.policy(a.Spec, a.experience))
	l.tellLadder()
	keep(l, a.experience)
}

// NotKept logs that a site's experience could not be written.
func (h *Host) NotKept(siteName string, err error) {
	h.Log.Error("what was learnt of a site is not kept", "site", siteName, "error", err)
}

// loadExperience gives it; what cannot be read is learnt anew.
func (h *Host) loadExperience(siteName string) *policy.Experience {
	x, err := h.Experiences.Load(siteName)
	if err != nil {
		h.MoveAside(h.Cfg.StateDir, h.Experiences.File(siteName), siteName, err, "what was learnt of the site is learnt anew")
	}
	return x
}
