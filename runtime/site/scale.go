package site

import "time"

func (e ScaleAsked) on(m *Machine, _ time.Time) []Action {
	want := min(max(e.Want, m.policy.least()), m.policy.most())
	if m.deleted || m.backoff || m.Serving() == 0 { // a sleeping site is woken by who needs it
		return nil
	}
	m.want = want
	return m.reconcile(e.Reason)
}

// reconcile brings the number of serving replicas to what is wanted. One that is
// still draining is taken back before a spare one joins or a new one is made; the
// oldest go first, as that is what circulation would do next.
func (m *Machine) reconcile(reason string) []Action {
	if m.deleted || m.backoff || m.byHand {
		return nil
	}
	have := m.replicas.serving()
	if len(have) == 0 {
		return nil
	}
	if len(have) < m.want && !m.retry {
		if r := m.replicas.find(Draining); r != nil && m.renewing == "" {
			return m.reopen(r, reason) // which comes back here if there is more to do
		}
		if r := m.replicas.sleeper(); r != nil && !r.old {
			return m.rouse(r, reason) // and so does this
		}
	}
	acts := m.grow(reason)
	ready := 0
	for _, r := range m.replicas.serving() {
		if r.State == Ready {
			ready++
		}
	}
	for ; ready > m.want; ready-- { // those that start are not there yet
		r := m.replicas.oldest(func(r *Replica) bool { return r.State == Ready && r.Serves() && r.role != roleNext })
		acts = append(acts, m.drain(r, causeSurplus, reason)...)
	}
	return acts
}

// bound is called when a replica serves again that was taken for lost: what was only
// begun in its place would be one too many.
func (m *Machine) bound() []Action {
	var acts []Action
	for m.Serving() > m.policy.most() {
		r := m.replicas.oldest(func(r *Replica) bool { return r.State == Starting && r.Serves() && r.role != roleNext })
		if r == nil {
			break
		}
		acts = append(acts, r.stop("another one serves again")...)
	}
	return acts
}

// grow adds the replicas that are missing: spare ones as long as there are any,
// then those at their gates, then new ones.
func (m *Machine) grow(reason string) []Action {
	var acts []Action
	for m.Serving() < m.want {
		if s := m.replicas.spare(false); s != nil {
			acts = append(acts, m.join(s, reason)...)
			continue
		}
		if m.retry {
			break
		}
		acts = append(acts, m.start(reason)...)
	}
	return acts
}
