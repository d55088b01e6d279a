package site

// prepare has a container made that waits at its gate for the next visitor.
func (m *Machine) prepare() []Action {
	if m.prepared != 0 || m.deleted || !m.policy.allows(TierPrepared) {
		return nil
	}
	m.prepared, m.standing = m.newID(), false
	return []Action{Prepare{ID: m.prepared}}
}

// unprepare throws it away, unless it is what was asked for.
func (m *Machine) unprepare(unless Tier) []Action {
	if m.prepared == 0 || unless == TierPrepared {
		return nil
	}
	id := m.prepared
	m.prepared, m.standing = 0, false
	return []Action{Unprepare{ID: id}}
}

func (m *Machine) onPrepared(e Prepared) []Action {
	if e.ID != m.prepared || m.standing {
		return nil // opened, or thrown away meanwhile
	}
	m.standing = true
	acts := []Action{Note{Kind: string(TierPrepared), Replica: e.ID, Reason: "waits at its gate"}}
	at, _ := m.policy.rung(TierPrepared)
	if cold, ok := m.policy.rung(TierCold); ok && m.policy.Min == 0 {
		acts = append(acts, ArmIdle{ID: e.ID, After: max(0, cold.After-at.After)})
	}
	return acts
}

func (m *Machine) onPrepareAsked() []Action {
	if m.Phase() != Parked || len(m.replicas) > 0 || m.waiting {
		return nil // it is awake, or asleep otherwise
	}
	return m.prepare()
}

func (m *Machine) onPrepareFailed(e PrepareFailed) []Action {
	if e.ID != m.prepared {
		return nil
	}
	m.prepared, m.standing = 0, false
	return []Action{Note{Kind: "not-" + string(TierPrepared), Replica: e.ID, Reason: e.Reason}}
}
