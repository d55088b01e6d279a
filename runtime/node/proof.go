package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/site"
)

// A restored replica owes a proof that it serves: its first answer. CRIU's word that all
// is as it was is not enough, as a process that waits for memory which never comes looks
// like one that waits for visitors.

// proof is what is known of it so far.
type proof struct {
	unheard  time.Time // since when nobody listens; zero: not so
	ignored  time.Time // since when visitors wait of whom none was accepted
	waiting  time.Time // since when requests have no answer
	answered bool      // before it slept, the site took turns with its visitors
	patience time.Duration
	longest  time.Duration
}

// judge says why the replica does not serve, or that it does. An application that is merely slow has accepted
// its visitors' connections, and gets the time that a start may take, and what its answers took before it slept.
func (p *proof) judge(now time.Time, listens bool, l bpf.Load) (why error, serves bool) {
	if l.BytesOut+l.DatagramsOut > 0 {
		return nil, true
	}
	since := func(t *time.Time, is bool) time.Duration {
		switch {
		case !is:
			*t = time.Time{}
			return 0
		case t.IsZero():
			*t = now
		}
		return now.Sub(*t)
	}
	unheard := since(&p.unheard, !listens)
	ignored := since(&p.ignored, l.AcceptQueue > 0 && uint64(l.AcceptQueue) >= l.ConnsTotal && l.ConnsNow > 0)
	waiting := since(&p.waiting, p.answered && l.Requests > 0 && l.ConnsNow > 0)
	switch {
	case unheard >= p.patience:
		return fmt.Errorf("it was restored, and nobody has listened on its ports for %s", p.patience), false
	case ignored >= p.patience:
		return fmt.Errorf("it was restored, and has accepted none of %d connections for %s", l.ConnsTotal, p.patience), false
	case waiting >= p.longest:
		return fmt.Errorf("it was restored, and has answered none of %d requests for %s, as it did before", l.Requests, p.longest), false
	}
	return nil, false
}

// proofLooks is into how many looks the time for it is divided.
const proofLooks = 8

// awaitProof begins to wait for a restored replica's. The caller holds e.mu.
func (n *Node) awaitProof(e *entry, r *replica) {
	start := n.startTimeout(e.active.spec)
	answer := n.experience(e).Answer
	r.proof = &proof{
		answered: answer > 0, patience: min(time.Duration(n.cfg.Checkpoints.Timeout), start/2),
		longest: start + slowAnswer*answer,
	}
	n.handle(e, site.Restored{ID: r.id})
	n.armProof(e, r)
}

// slowAnswer is how many times as long as its median an answer may take.
const slowAnswer = 20

// armProof sets the time of the next look. The caller holds e.mu.
func (n *Node) armProof(e *entry, r *replica) {
	n.arm(e, timerKey{timerProof, r.id}, r.proof.patience/proofLooks, func() site.Event { return n.lookForProof(e, r) })
}

// lookForProof looks at what the kernel has counted of a replica. The caller holds e.mu.
func (n *Node) lookForProof(e *entry, r *replica) site.Event {
	if m, ok := e.active.machine.Replica(r.id); r.proof == nil || r.stopping || !ok || m.State != site.Starting && m.State != site.Ready {
		r.proof = nil // it sleeps, or goes
		return nil
	}
	id := bpf.ReplicaID(r.id)
	st, err := n.dp.Stats(id)
	loads, counted := n.dp.Load([]bpf.ReplicaID{id}) // with the accept queue
	l := loads[id]
	if err = errors.Join(err, counted); err != nil {
		n.log.Error("cannot tell whether a restored replica serves", "replica", r.name, "error", err)
		return nil
	}
	why, serves := r.proof.judge(time.Now(), st.Ready4|st.Ready6 != 0, l)
	switch {
	case serves:
		n.proved(e, r)
	case why != nil:
		n.unproven(e, r, why)
		return site.Unresponsive{ID: r.id, Reason: why.Error()}
	default:
		n.armProof(e, r)
	}
	return nil
}

// proved notes that it has answered. The caller holds e.mu.
func (n *Node) proved(e *entry, r *replica) {
	if r.proof != nil {
		r.proof = nil
		n.handle(e, site.Answered{ID: r.id})
	}
}

// unproven blames the image for a replica that does not serve. The caller holds e.mu.
func (n *Node) unproven(e *entry, r *replica, why error) {
	r.proof = nil
	n.dropSleep(e, why.Error())
	n.notRestored(e, r, why)
}

// endedUnproven does so for one that has ended before anybody else wanted it to. The caller holds e.mu.
func (n *Node) endedUnproven(e *entry, r *replica, reason string) {
	if r.proof != nil && !r.stopping && time.Since(r.started) < stableTime+r.proof.patience {
		n.unproven(e, r, fmt.Errorf("it was restored, and ended before its first answer: %s", reason))
	}
}

// proveAgain goes on waiting for the proof of a replica that an earlier daemon has
// restored. The caller holds e.mu.
func (n *Node) proveAgain(e *entry, r *replica) {
	if r.ctr == nil || r.ctr.Meta()[metaRestored] == "" {
		return
	}
	if l, err := n.counted(r); err == nil && l.BytesOut+l.DatagramsOut == 0 {
		n.awaitProof(e, r)
	}
}
