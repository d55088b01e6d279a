package life

// ownConns counts the connections to others that a replica holds.
func (st *Site) ownConns(r *Replica) (n int) {
	conns, err := r.ns.OwnConns()
	if err != nil {
		st.Host.Log.Error("cannot tell which connections a sleeping replica holds", "replica", r.Name, "error", err)
	}
	for _, c := range conns {
		if c.Up {
			n++
		}
	}
	return n
}

// countOwn counts them in the background, and calls then with what was found if the
// replica is still there.
func countOwn(st *Site, r *Replica, then func(*Live, int)) {
	if r == nil {
		return
	}
	st.goDo(func() {
		n := st.ownConns(r)
		st.With(func(l *Live) {
			if l.Activity == nil || l.Replicas[r.ID] != r || l.Host.Stopped() {
				return
			}
			r.OwnConns = n
			then(l, n)
		})
	})
}

// CountOwn counts those of all replicas that sleep with their processes.
func (st *Site) CountOwn() {
	var asleep []*Replica
	st.With(func(l *Live) {
		if l.Activity == nil {
			return
		}
		for _, r := range l.Replicas {
			if r.frozen && !r.stopping {
				asleep = append(asleep, r)
			}
		}
	})
	for _, r := range asleep {
		n := st.ownConns(r)
		st.With(func(*Live) { r.OwnConns = n })
	}
}
