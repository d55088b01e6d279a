package site

import (
	"time"

	"slices"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
)

// gate is where a container waits, or is on its way to.
type gate struct {
	id       ReplicaID
	standing bool
}

type gates []gate

// prepare has a container made that waits at its gate for the next visitor, unless
// one does so already.
func (m *Machine) prepare() []Action {
	switch {
	case m.deleted || !m.policy.allows(detect.TierPrepared):
		return nil
	case len(m.gates) == 0:
		return m.addGate()
	case m.gates[0].standing:
		return m.waits(m.gates[0].id)
	}
	return nil
}

func (m *Machine) addGate() []Action {
	id := m.newID()
	m.gates = append(m.gates, gate{id: id})
	return []Action{Prepare{ID: id}}
}

// drop throws away what waits there, but for some.
func (g *gates) drop(keep int) []Action {
	var acts []Action
	for len(*g) > keep {
		last := len(*g) - 1
		acts = append(acts, Unprepare{ID: (*g)[last].id})
		*g = (*g)[:last]
	}
	return acts
}

// take gives the one that can be opened soonest; 0: there is none.
func (g *gates) take() ReplicaID {
	if len(*g) == 0 {
		return 0
	}
	i := max(0, slices.IndexFunc(*g, func(g gate) bool { return g.standing }))
	id := (*g)[i].id
	*g = slices.Delete(*g, i, i+1)
	return id
}

func (g gates) at(id ReplicaID) int {
	return slices.IndexFunc(g, func(g gate) bool { return g.id == id })
}

// waits tells of a container at its gate. For a visitor it does not wait for ever.
func (m *Machine) waits(id ReplicaID) []Action {
	acts := []Action{Note{Kind: event.Prepared, Replica: id, Reason: "waits at its gate"}}
	at, _ := m.policy.rung(detect.TierPrepared)
	if cold, ok := m.policy.rung(detect.TierCold); ok && m.policy.Min == 0 {
		acts = append(acts, ArmIdle{ID: id, After: max(0, cold.After-at.After)})
	}
	return acts
}

func (e Prepared) on(m *Machine, _ time.Time) []Action {
	i := m.gates.at(e.ID)
	if i < 0 || m.gates[i].standing {
		return nil // opened, or thrown away meanwhile
	}
	m.gates[i].standing = true
	switch {
	case m.replicas.up():
		return []Action{Note{Kind: event.Spare, Replica: e.ID, Reason: "stands ready, prepared"}}
	case m.replicas.anyButSpares():
		return nil // it is told when the last replica has ended
	}
	return m.waits(e.ID)
}

func (PrepareAsked) on(m *Machine, _ time.Time) []Action {
	if m.Phase() != Parked || len(m.replicas) > 0 || m.waiting {
		return nil // it is awake, or asleep otherwise
	}
	return m.prepare()
}

func (e PrepareFailed) on(m *Machine, _ time.Time) []Action {
	i := m.gates.at(e.ID)
	if i < 0 {
		return nil
	}
	m.gates = slices.Delete(m.gates, i, i+1)
	if m.noRoom = e.NoRoom; m.replicas.up() && !e.NoRoom {
		m.spareFailures++
	}
	return []Action{Note{Kind: event.NotPrepared, Replica: e.ID, Reason: e.Reason}}
}
