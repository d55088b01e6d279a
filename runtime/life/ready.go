package life

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// A replica of a site with `ready` is closed in the data path from its beginning:
// whoever listens there, new flows are held. From when somebody listens it is asked,
// and when its probe has passed the data path opens it, and the site's machine learns
// that it listens.

// Pauses between the tries of a probe.
const (
	firstAsk = time.Millisecond
	laterAsk = 250 * time.Millisecond
)

// awaitReady has a closed replica asked, in the background.
func (l *Live) awaitReady(r *Replica) {
	if r.asked {
		return
	}
	r.asked = true
	st, s := l.Site, l.Spec
	st.goDo(func() { st.askReady(r, s) })
}

// askReady asks until the replica is ready, or is to end.
func (st *Site) askReady(r *Replica, s *spec.Site) {
	is := func(a *Activity) bool { return a == nil || a.Replicas[r.ID] != r || r.Ctr != nil }
	if err := st.Wait(st.Host.Ctx, is); err != nil || r.Ctr == nil {
		return // it has come to nothing, which others tell
	}
	for pause := firstAsk; ; pause = min(2*pause, laterAsk) {
		select {
		case <-time.After(pause):
		case <-r.Ctr.Exited():
			return
		case <-st.Host.Ctx.Done():
			return // the next daemon asks
		}
		err, over := st.ask(st.Host.Ctx, s.Ready, r, s), false
		st.With(func(l *Live) { over = l.tried(r, err) })
		if over {
			return
		}
	}
}

// tried takes the outcome of a try, and says whether it was the last one.
func (l *Live) tried(r *Replica, err error) (over bool) {
	if l.Activity == nil || l.Replicas[r.ID] != r || r.stopping {
		return true
	}
	r.unready = err
	if err != nil {
		return false
	}
	id := bpf.ReplicaID(r.ID)
	stats, err := l.Host.Data.Stats(id)
	if err == nil {
		err = l.Host.Data.OpenReplica(id)
	}
	if err != nil {
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			l.Host.Log.Error("a replica that is ready gets no visitors; trying again", "replica", r.Name, "error", err)
		}
		r.unready = err
		return false
	}
	r.closed = false
	if r.trace != nil {
		r.trace.mark(event.StepReady, l.Host.Now())
	}
	if stats.Ready4|stats.Ready6 != 0 {
		r.listens(l, stats.Ready4, stats.Ready6)
	}
	return true
}

// listens is called when somebody listens on ports of a replica: the machine learns
// it, unless the replica is to be asked before.
func (r *Replica) listens(l *Live, ready4, ready6 uint32) {
	if r.closed {
		l.awaitReady(r)
		return
	}
	if r.trace != nil {
		l.Host.endByHand(r)
	}
	l.handle(site.ReplicaReady{ID: r.ID, All: l.allReady(ready4, ready6)})
}

// whyNotUp says what the start of a replica lacks whose time is over; "": not
// known, as of nil.
func (h *Host) whyNotUp(r *Replica, s *spec.Site, within time.Duration) string {
	if r == nil {
		return ""
	}
	if r.unready != nil {
		return fmt.Sprintf("its ready probe has not passed within %s: %v", within, r.unready)
	}
	if r.ns == nil || r.Ctr == nil {
		return "" // it was not even made
	}
	why := fmt.Sprintf("nobody listened on its ports (%s) within %s", portsMeta(s), within)
	switch on, err := r.ns.Listeners(); {
	case err != nil:
		h.Log.Error("cannot tell on what a replica listens", "replica", r.Name, "error", err)
	case len(on) == 0:
		why += "; it listens on nothing"
	default:
		why += "; it listens on " + strings.Join(on, ", ")
	}
	if img, err := h.Images.Get(r.Image); err == nil && len(img.Config.ExposedPorts) > 0 {
		why += "; its image exposes " + strings.Join(img.Config.ExposedPorts, ", ")
	}
	return why
}
