package site

import (
	"time"

	"github.com/fcnode/fcnode/detect"
)

// Found is what a replica was doing when the daemon that started it ended.
type Found struct {
	Ready    bool // somebody listens on a port of it
	Draining bool
	Asleep   detect.Tier // frozen or reclaimed; its mark is set, no packet has come
	// Spare says that it was not in the site's set, though others are: a spare one if it
	// is frozen, else one that was being made or ended.
	Spare bool
}

// Adopt puts a replica into the machine that an earlier daemon had started.
// It returns what is to be armed for it. After the last one AllAdopted is to be
// handed in: only then the data path is told, which has the set of before until then.
func (m *Machine) Adopt(now time.Time, id ReplicaID, was Found) []Action {
	r := newReplica(id)
	m.replicas = append(m.replicas, r)
	switch {
	case was.Spare && was.Asleep == detect.TierFrozen:
		r.State, r.ReadyAt, r.Tier, r.target, r.role = Asleep, now, detect.TierFrozen, detect.TierFrozen, roleSpare
		return nil
	case was.Spare:
		r.State, r.Reason, r.role = Stopping, "found half-made, or on its way out", roleSpare
		return []Action{Stop{ID: id}}
	case was.Asleep != "":
		r.State, r.ReadyAt, r.Tier, r.target = Asleep, now, was.Asleep, was.Asleep
		return append(r.armConns(m.policy, m.policy.KeepConns), r.armIdle(m.policy)...)
	case was.Draining:
		r.State, r.ReadyAt, r.Reason = Draining, now, "found draining"
		return []Action{ArmDrain{ID: id, After: m.policy.Linger}}
	case was.Ready:
		// its other ports have their time of grace once more
		r.State, r.ReadyAt = Ready, now
		acts := append([]Action{ArmPortGrace{ID: id, After: m.policy.PortGrace}}, r.armIdle(m.policy)...)
		return append(acts, r.armLife(m.policy)...)
	}
	r.origin = originFound
	return []Action{ArmStart{ID: id, After: m.policy.StartTimeout}}
}

// on keeps as many as were serving, within the bounds: a site that
// was scaled out stays so until its load is known, and of one that was being
// replaced the older one goes.
func (AllAdopted) on(m *Machine, _ time.Time) []Action {
	ready := 0
	for _, r := range m.replicas {
		if r.State == Ready && r.role != roleSpare {
			ready++
		}
	}
	m.want = min(max(m.want, ready), m.policy.most())
	return append([]Action{Publish{}}, m.resume()...)
}

func (m *Machine) resume() []Action {
	if m.Serving() == 0 {
		if r := m.replicas.find(Draining); r != nil && !m.replicas.alive() {
			return m.reopen(r, "no other was found")
		}
		if r := m.replicas.spare(false); r != nil && !m.replicas.alive() {
			return m.join(r, "the spare one takes over")
		}
		return nil
	}
	if m.replicas.find(Ready) == nil {
		return nil // one that starts may yet fail
	}
	return m.reconcile("found more or less than are wanted")
}
