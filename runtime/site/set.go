package site

import "slices"

// set are the replicas of a site, the oldest first.
type set []*Replica

func (all set) find(s State) *Replica {
	for _, r := range all {
		if r.State == s && r.role != roleSpare {
			return r
		}
	}
	return nil
}

// alive says whether a replica is there that is not on its way out.
func (all set) alive() bool {
	return slices.ContainsFunc(all, func(r *Replica) bool { return r.role != roleSpare && r.alive() })
}

func (all set) byID(id ReplicaID) *Replica {
	for _, r := range all {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (all set) oldest(is func(*Replica) bool) *Replica {
	for _, r := range all {
		if is(r) {
			return r
		}
	}
	return nil
}

// anyOld finds a replica that is to be replaced.
func (all set) anyOld() *Replica {
	return all.oldest(func(r *Replica) bool { return r.old && r.alive() && r.State != Starting })
}

func (all set) anyButSpares() bool {
	for _, r := range all {
		if r.role != roleSpare {
			return true
		}
	}
	return false
}

// serving are the replicas that get new flows, or will.
func (all set) serving() []*Replica {
	var out []*Replica
	for _, r := range all {
		if r.Serves() && r.role != roleNext {
			out = append(out, r)
		}
	}
	return out
}

// sleeper is a replica that can be had quicker than a new one.
func (all set) sleeper() *Replica {
	for _, s := range []State{Closing, Asleep, Suspending} {
		if r := all.find(s); r != nil {
			return r
		}
	}
	return nil
}

// up says whether the site is awake, or on its way there.
func (all set) up() bool {
	return all.oldest(func(r *Replica) bool { return r.role != roleSpare && r.alive() && r.State != Asleep }) != nil
}

// spares are those that are frozen, or on their way there.
func (all set) spares() (n int) {
	for _, r := range all {
		if r.role == roleSpare && r.alive() {
			n++
		}
	}
	return n
}

// spare is the one that serves soonest. Of those that sleep it is one that has
// served before, whose caches are warm; if a fresh one is wanted it is not.
func (all set) spare(fresh bool) *Replica {
	is := func(s State, living bool) *Replica {
		return all.oldest(func(r *Replica) bool { return r.role == roleSpare && r.State == s && r.living == living })
	}
	for _, s := range []State{Asleep, Suspending, Ready, Starting} {
		if r := is(s, true); r != nil && !fresh {
			return r
		}
		if r := is(s, false); r != nil {
			return r
		}
	}
	return nil
}
