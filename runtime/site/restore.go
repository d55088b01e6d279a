package site

import (
	"time"

	"github.com/fcnode/fcnode/runtime/event"
)

// A replica that comes from an image is unproven until it has given its first
// answer. If it comes to nothing before that, the image is to blame, not the site:
// another replica is started at once, for the same visitors, and no failure is
// counted. The node has no image any more by then, so that one is started cold.

func (e Restored) on(m *Machine, _ time.Time) []Action {
	if r := m.replicas.byID(e.ID); r != nil {
		r.unproven = true
	}
	return nil
}

func (e Answered) on(m *Machine, _ time.Time) []Action {
	if r := m.replicas.byID(e.ID); r != nil {
		r.unproven = false
	}
	return nil
}

// on ends a restored replica that does not serve.
func (e Unresponsive) on(m *Machine, _ time.Time) []Action {
	r := m.replicas.byID(e.ID)
	if r == nil || !r.unproven || r.State != Starting && r.State != Ready {
		return nil
	}
	r.unproven = false
	r.State, r.Reason = Stopping, e.Reason
	acts := []Action{Publish{}, Stop{ID: r.ID, Kill: true}}
	if m.needed(r) {
		r.then = thenStart // when it has gone: both would take what one may have
		acts = append(acts, Note{Kind: event.Exited, Replica: r.ID, Failure: true, Reason: e.Reason})
	} else {
		acts = append(acts, m.failed(r, e.Reason)...)
	}
	return append(acts, m.recover()...)
}

// endedUnproven says what the end of such a replica, which has gone, leads to.
func (m *Machine) endedUnproven(r *Replica, reason string) []Action {
	reason = "restored, and ended before its first answer: " + reason
	if !m.needed(r) {
		return m.failed(r, reason)
	}
	acts := []Action{Note{Kind: event.Exited, Replica: r.ID, Failure: true, Reason: reason}}
	if m.replicas.alive() || m.deleted || m.backoff {
		return acts
	}
	return append(acts, m.start(reason)...)
}

// needed says whether visitors count on it, rather than a circulation or scaling.
func (m *Machine) needed(r *Replica) bool {
	return r.role != roleSpare && !(r.role == roleNext && m.replicas.anyOld() != nil)
}
