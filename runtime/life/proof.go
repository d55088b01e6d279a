package life

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
	of       *Replica  // that owes it
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

// awaitProof begins to wait for a restored replica's.
func (l *Live) awaitProof(r *Replica) {
	start := l.Host.startTimeout(l.Spec)
	answer := l.experience.Answer
	r.proof = &proof{
		of: r, answered: answer > 0, patience: min(time.Duration(l.Host.Cfg.Checkpoints.Timeout), start/2),
		longest: start + slowAnswer*answer,
	}
	l.handle(site.Restored{ID: r.ID})
	r.proof.arm(l)
}

// slowAnswer is how many times as long as its median an answer may take.
const slowAnswer = 20

// arm sets the time of the next look.
func (p *proof) arm(l *Live) {
	l.arm(timerKey{timerProof, p.of.ID}, p.patience/proofLooks, func() site.Event {
		if l.pause != nil {
			p.arm(l)
			return nil
		}
		return p.look(l)
	})
}

// look looks at what the kernel has counted of the replica.
func (p *proof) look(l *Live) site.Event {
	r := p.of
	if r.proof != p {
		return nil // it was given
	}
	if m, ok := l.Machine.Replica(r.ID); r.stopping || !ok || m.State != site.Starting && m.State != site.Ready {
		r.proof = nil // it sleeps, or goes
		return nil
	}
	id := bpf.ReplicaID(r.ID)
	st, err := l.Host.Data.Stats(id)
	loads, counted := l.Host.Data.Load([]bpf.ReplicaID{id}) // with the accept queue
	if err = errors.Join(err, counted); err != nil {
		l.Host.Log.Error("cannot tell whether a restored replica serves", "replica", r.Name, "error", err)
		p.arm(l)
		return nil
	}
	why, serves := p.judge(time.Now(), st.Ready4|st.Ready6 != 0, loads[id])
	switch {
	case serves:
		p.given(l)
	case why != nil:
		p.failed(l, why)
		return site.Unresponsive{ID: r.ID, Reason: why.Error()}
	default:
		p.arm(l)
	}
	return nil
}

// given notes that the replica has answered. nil: it owed nothing.
func (p *proof) given(l *Live) {
	if p != nil {
		p.of.proof = nil
		l.handle(site.Answered{ID: p.of.ID})
	}
}

// failed blames the image for a replica that does not serve.
func (p *proof) failed(l *Live, why error) {
	p.of.proof = nil
	l.DropSleep(why.Error())
	p.of.notRestored(l, why)
}

// ended does so for one that has ended before anybody else wanted it to. nil: it
// owed nothing.
func (p *proof) ended(l *Live, reason string) {
	if p != nil && !p.of.stopping && time.Since(p.of.Started) < stableTime+p.patience {
		p.failed(l, fmt.Errorf("it was restored, and ended before its first answer: %s", reason))
	}
}

// proveAgain goes on waiting for the proof of a replica that an earlier daemon has
// restored.
func (l *Live) proveAgain(r *Replica) {
	if r.Ctr == nil || r.Ctr.Meta()[metaRestored] == "" {
		return
	}
	if load, err := l.Host.counted(r); err == nil && load.BytesOut+load.DatagramsOut == 0 {
		l.awaitProof(r)
	}
}
