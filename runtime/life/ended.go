package life

import (
	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/site"
)

// CountEnded adds what the kernel has counted for a replica that is gone to what the
// site keeps, before the data path is told to remove it. A replica is counted once, also where
// a daemon dies in between.
func (st *Site) CountEnded(id site.ReplicaID) {
	st.With(func(l *Live) { countEnded(l, id) })
	st.Host.Experiences.Sync(st.Name)
}

// countEnded is that without waiting for the disk.
func countEnded(l *Live, id site.ReplicaID) {
	if l.gone {
		return // nobody asks any more
	}
	all, err := l.Host.Data.LoadOf(bpf.ReplicaID(id))
	if err != nil {
		l.Host.Log.Error("the counters of a site will be too low by those of a replica that has ended", "site", l.Name, "id", id, "error", err)
		return
	}
	load := all[bpf.ReplicaID(id)]
	l.Host.Arrivals.ended(bpf.ReplicaID(id), l.ID, load)
	if load.Attempts+load.ConnsTotal+load.UDPFlows == 0 {
		return // it is unknown, or nobody came
	}
	var x *policy.Experience
	if l.Activity != nil {
		x = l.taught()
	} else {
		x = l.Host.loadExperience(l.Name)
	}
	x.Ended.Add(bpf.ReplicaID(id), load)
	if err := l.Host.Experiences.Put(l.Name, x); err != nil {
		l.Host.NotKept(l.Name, err)
	}
}
