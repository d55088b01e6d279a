package life

import (
	"errors"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// Who listens on the ports of a replica is a level, which the data path keeps; an
// event only says that it has changed. There is one event on its way for each replica,
// and its ports are read anew for each: whatever a replica does with its sockets, it
// costs the others neither an event nor much of the daemon's time.

// A replica that goes on opening and closing ports is looked at no more often than
// this, after so many looks at once.
const (
	portLooks     = 16
	portLookAfter = 100 * time.Millisecond
)

// ports is what is known of who listens.
type ports struct {
	ready4, ready6 uint32
	rest           time.Time // from when on there are portLooks again
}

// wait takes one look, and says after how long it may be.
func (p *ports) wait(now time.Time) time.Duration {
	if p.rest.Before(now) {
		p.rest = now
	}
	p.rest = p.rest.Add(portLookAfter)
	return max(0, p.rest.Sub(now)-portLooks*portLookAfter)
}

// portsChanged is called for an event, at its time.
func (r *Replica) portsChanged(l *Live, at uint64) {
	key := timerKey{timerPorts, r.ID}
	if l.timers[key] != nil {
		return // it is looked soon
	}
	if wait := r.ports.wait(time.Now()); wait > 0 {
		l.arm(key, wait, func() site.Event {
			r.lookAtPorts(l, l.Host.Now())
			return nil
		})
		return
	}
	r.lookAtPorts(l, at)
}

// lookAtPorts acts on who listens now. Who has closed a port and opened it again
// meanwhile is told to be there, too: somebody may have been held in between.
func (r *Replica) lookAtPorts(l *Live, at uint64) {
	ready4, ready6, err := l.Host.Data.TakePorts(bpf.ReplicaID(r.ID))
	if err != nil {
		if !errors.Is(err, ebpf.ErrKeyNotExist) { // it has ended
			l.Host.Log.Error("cannot tell who listens in a replica", "replica", r.Name, "error", err)
		}
		return
	}
	fell := (r.ports.ready4&^ready4 | r.ports.ready6&^ready6) &^ ranges(l.Ports)
	r.ports.ready4, r.ports.ready6 = ready4, ready6
	if fell != 0 {
		l.handle(site.PortClosed{ID: r.ID})
	}
	if ready4|ready6 == 0 || l.Activity == nil || l.Replicas[r.ID] != r {
		return
	}
	r.endTurn()
	if r.restoring {
		return
	}
	if r.trace != nil {
		r.trace.mark(event.StepListening, at)
	}
	r.listens(l, ready4, ready6)
}

// upUnheard looks whether a replica whose time to start is over has come up, and only
// the event is missing. Nobody is ended for that.
func (r *Replica) upUnheard(l *Live) bool {
	m, ok := l.Machine.Replica(r.ID)
	if !ok || m.State != site.Starting || r.restoring || r.asked {
		return false
	}
	if r.lookAtPorts(l, l.Host.Now()); r.ports.ready4|r.ports.ready6 == 0 {
		return false
	}
	l.Host.Log.Warn("a replica listens, of which no event came", "replica", r.Name)
	return true
}
