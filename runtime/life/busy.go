package life

import (
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/busy"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// work is the first of two samples of what a replica uses.
type work struct {
	at   time.Time
	used cgroup.Usage
}

// armIdle sets the timer of a replica's idleness. Where work keeps the site awake a
// first sample is taken a little before, and at no other time.
func (l *Live) armIdle(id site.ReplicaID, after time.Duration) {
	r := l.Replicas[id]
	m, ok := l.Machine.Replica(id)
	looks := ok && r != nil && m.Tier == detect.TierRunning && l.Spec.Busy.Looks() && l.Host.Cfg.Busy.Most > 0
	if looks {
		after = max(after, busy.Window)
		l.arm(timerKey{timerWork, id}, after-busy.Window, func() site.Event {
			r.work = sample(l, r)
			return nil
		})
	} else if t := l.timers[timerKey{timerWork, id}]; t != nil { // of another spec, before
		t.Stop()
	}
	if r != nil {
		r.work = nil
	}
	l.arm(timerKey{timerIdle, id}, after, func() site.Event {
		ev := l.idleOver(id, "")
		switch {
		case !looks || ev.Conns > 0:
			return ev
		case r.work == nil: // it had a visitor a moment ago
			l.armIdle(id, 0)
		default:
			r.work.look(l, r)
		}
		return nil
	})
}

// NotLooked says which work that the spec names this machine cannot see.
func (h *Host) NotLooked(s *spec.Site) []string {
	if s.Busy.IO == 0 || s.Busy.IsZero() || h.Has("io") {
		return nil
	}
	return []string{"busy.io: what the site reads and writes does not keep it awake: this machine has no io controller in cgroup v2"}
}

func (l *Live) idleOver(id site.ReplicaID, busy string) site.IdleOver {
	u := l.Use(id)
	return site.IdleOver{ID: id, Conns: u.Conns + u.Flows, IdleFor: u.Idle, Arrived: u.Arrived, Busy: busy}
}

// sample takes the first one, unless the replica has visitors, or its container is not
// known yet.
func sample(l *Live, r *Replica) *work {
	if u := l.Use(r.ID); u.Conns+u.Flows > 0 || r.Ctr == nil {
		return nil
	}
	used, err := r.Ctr.Group().Usage()
	notTold(l.Host, r, "cannot tell what a replica uses", err)
	return &work{time.Now(), used}
}

// look takes the second one in the background, as files in the site may be slow.
func (w *work) look(l *Live, r *Replica) {
	st, s := l.Site, l.Spec
	st.goDo(func() {
		why := st.whyBusy(r, s, w)
		st.With(func(l *Live) {
			if l.Activity == nil || l.Replicas[r.ID] != r || r.work != w || l.Host.Stopped() {
				return // it sleeps by now, or the timer was set anew
			}
			r.work = nil
			l.handle(l.idleOver(r.ID, why))
		})
	})
}

// notTold logs that nothing can be told of a replica, unless it has ended meanwhile.
func notTold(h *Host, r *Replica, what string, err error) {
	if err != nil && !exited(r) {
		h.Log.Error(what, "replica", r.Name, "error", err)
	}
}

func (st *Site) whyBusy(r *Replica, s *spec.Site, w *work) string {
	h := st.Host
	used, err := r.Ctr.Group().Usage()
	took := time.Since(w.at)
	if err != nil {
		notTold(h, r, "cannot tell what a replica uses", err)
		used = w.used
	}
	var now busy.Now
	if s.Busy.Connections {
		conns, err := r.ns.OwnConns()
		notTold(h, r, "cannot tell on which connections of a replica bytes move", err)
		for _, c := range conns {
			now.Conns = append(now.Conns, busy.Conn{To: c.To.String(), Sent: c.Sent, Received: c.Received, Heard: c.Heard, Opening: !c.Up})
		}
	}
	if s.Busy.File != "" {
		now.File = st.ask(h.Ctx, spec.Probe{File: s.Busy.File}, r, s) == nil
	}
	return busy.Why(s.Busy, took, w.used, used, now)
}
