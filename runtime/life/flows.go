package life

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// flowsOf counts a replica's flows of UDP: none where the site has no such port.
func flowsOf(l *Live, id site.ReplicaID) bpf.Flows {
	if !slices.ContainsFunc(l.Ports, func(p spec.Port) bool { return p.Proto == "udp" }) {
		return bpf.Flows{}
	}
	f, err := l.Host.Data.Flows(bpf.ReplicaID(id))
	if err != nil {
		l.Host.Log.Error("cannot tell a replica's flows of UDP; they keep nothing awake", "site", l.Name, "id", id, "error", err)
	}
	return f
}

// watchEmpty asks the data path to tell when a draining replica's last connection has
// ended.
func watchEmpty(l *Live, id site.ReplicaID) site.Event {
	conns, err := l.Host.Data.WatchEmpty(bpf.ReplicaID(id), true)
	if err != nil {
		l.Host.Log.Error("the end of a draining replica's connections is not seen; it has its whole time", "site", l.Name, "id", id, "error", err)
		return nil
	}
	if conns > 0 {
		return nil
	}
	return emptied(l, id)
}

// emptied is called when a draining replica's last connection has ended. Nobody tells
// the end of a flow of UDP, which is that nothing comes: it is empty when that has
// lasted.
func emptied(l *Live, id site.ReplicaID) site.Event {
	f := flowsOf(l, id)
	if f.Live == 0 {
		return site.Emptied{ID: id}
	}
	l.arm(timerKey{timerFlows, id}, max(f.Left, time.Second), func() site.Event {
		if m, ok := l.Machine.Replica(id); !ok || m.State != site.Draining {
			return nil // it was taken back
		}
		return watchEmpty(l, id)
	})
	return nil
}
