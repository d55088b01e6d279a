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
	st.countEnded(id)
	st.Host.Experiences.Sync(st.Name)
}

// countEnded is that without waiting until it is written.
func (st *Site) countEnded(id site.ReplicaID) {
	WithLearnt(st, func(l *Live, x *policy.Experience) { countEnded(l, x, id) })
}

func countEnded(l *Live, x *policy.Experience, id site.ReplicaID) {
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
	x.Ended.Add(bpf.ReplicaID(id), load)
	keep(l, x)
}
