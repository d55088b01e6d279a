package site

// serving are the replicas that get new flows, or will.
func (m *Machine) serving() []*Replica {
	var out []*Replica
	for _, r := range m.replicas {
		if r.serves() && !r.next {
			out = append(out, r)
		}
	}
	return out
}

func (m *Machine) onScale(e ScaleAsked) []Action {
	want := min(max(e.Want, m.least()), m.most())
	if m.deleted || m.backoff || m.Serving() == 0 { // a sleeping site is woken by who needs it
		return nil
	}
	m.want = want
	return m.reconcile(e.Reason)
}

// reconcile brings the number of serving replicas to what is wanted. One that is
// still draining is taken back before a new one is made; the oldest go first, as
// that is what circulation would do next.
func (m *Machine) reconcile(reason string) []Action {
	if m.deleted || m.backoff || m.byHand {
		return nil
	}
	have := m.serving()
	if len(have) == 0 {
		return nil
	}
	var acts []Action
	for n := len(have); n < m.want && !m.retry; n++ {
		if r := m.find(Draining); r != nil && m.renewing == "" {
			r.State = Ready
			acts = append(acts, Publish{}, Note{Kind: "running", Replica: r.ID, Reason: reason})
			acts = append(acts, m.armIdle(r)...)
			continue
		}
		acts = append(acts, m.start(reason)...)
	}
	for n := len(have); n > m.want; n-- {
		r := m.oldest(func(r *Replica) bool { return r.State == Ready && r.serves() && !r.next })
		if r == nil {
			break // those that start are needed by nobody soon enough
		}
		acts = append(acts, m.drain(r, reason)...)
	}
	return acts
}
