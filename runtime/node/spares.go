package node

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// A spare replica costs a start, at a time when the site may need the processor for
// its visitors. It is put off while others wait for it, but not for ever.
const (
	spareWaits = 10 * time.Second
	spareAgain = 2 * time.Second
	busyCPU    = 25 // percent of the last ten seconds in which somebody waited for a processor
)

// spares is how many replicas the site's machine is to keep ready for scaling out.
func (n *Node) spares(s *spec.Site) int {
	if noSpare(s, n.can) != "" {
		return 0
	}
	return s.Scale.Spare.Count
}

// armSpare sets the timer of the next spare replica. The caller holds e.mu.
func (n *Node) armSpare(e *entry, after time.Duration, latest time.Time) {
	n.arm(e, timerKey{kind: timerSpare}, after, func() site.Event {
		if why := n.busy(); why != "" && time.Now().Before(latest) {
			n.log.Debug("a spare replica is put off", "site", e.name, "why", why)
			n.armSpare(e, spareAgain, latest)
			return nil
		}
		return site.SpareDue{}
	})
}

// busy says why nothing is started now that nobody waits for; empty: it may be.
func (n *Node) busy() string {
	if m, err := n.memory.read(); err == nil && m.short(n.cfg.Reclaim.Below.Share()) {
		return "memory is short (reclaim.below)"
	}
	if n.starts.Full() {
		return "sites are being started"
	}
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return "" // this kernel does not tell
	}
	if share := pressureOf(string(text)); share > busyCPU {
		return fmt.Sprintf("the processors were waited for in %.0f%% of the last ten seconds", share)
	}
	return ""
}

// pressureOf reads the share of the last ten seconds, in percent, in which some
// waited.
func pressureOf(text string) float64 {
	for line := range strings.Lines(text) {
		rest, some := strings.CutPrefix(line, "some avg10=")
		if !some {
			continue
		}
		share, _, _ := strings.Cut(rest, " ")
		if v, err := strconv.ParseFloat(share, 64); err == nil {
			return v
		}
	}
	return 0
}

// readySpare gets a replica that is about to be frozen as a spare one ready for
// when it joins: one that has served has the limits and the first connection of
// that time. The caller holds e.mu.
func (n *Node) readySpare(e *entry, r *replica, s *spec.Site) {
	if err := n.dp.BeginWake(bpf.ReplicaID(r.id)); err != nil {
		n.log.Debug("the first connection of a spare replica will not be told", "replica", r.name, "error", err)
	}
	if r.ctr == nil {
		return
	}
	if err := r.ctr.Group().Apply(settable(n.startLimits(e, s), n.parent.Has)); err != nil {
		n.log.Error("a spare replica keeps the limits that it had", "replica", r.name, "error", err)
	}
}

// settable is the change to limits that move while a replica runs, as far as this
// machine can set them.
func settable(l cgroup.Limits, has func(controller string) bool) cgroup.Change {
	var to cgroup.Limits
	if has("cpu") {
		to.CPU = l.CPU
	}
	if has("memory") {
		to.MemoryHigh, to.MemoryMax = l.MemoryHigh, l.MemoryMax
	}
	if has("pids") {
		to.Pids = l.Pids
	}
	if has("io") {
		to.IO = l.IO
	}
	return cgroup.Difference(cgroup.Limits{}, to)
}

// followJoin gives a spare replica that joins those that serve a trace of its own,
// as one that is started has. The caller holds e.mu.
func (n *Node) followJoin(e *entry, r *replica) {
	m, ok := e.active.machine.Replica(r.id)
	if !ok || !m.Joining() {
		return
	}
	r.from = m.Tier
	if r.from == "" {
		r.from = detect.TierFrozen // it was on its way there
	}
	if r.trace == nil {
		r.trace = newTrace(e.name, bpf.Now(), event.StepAsked)
		r.trace.replica(r.name)
		r.trace.from(r.from)
	}
}

// inherit passes the time at which a replica was asked for on to the one that is made
// in its place, if it ended before anybody came.
func (s *scaling) inherit(comers map[site.ReplicaID]bool) {
	for id, told := range s.outs {
		if comers[id] {
			continue
		}
		delete(s.begun, id)
		delete(s.outs, id)
		for heir, serves := range comers {
			_, known := s.outs[heir]
			if _, watched := s.watched[heir]; serves && !known && !watched {
				s.outs[heir] = told
				break
			}
		}
	}
}

// cameFrom is the tier from which a replica came to serve.
func cameFrom(r *replica) api.Tier {
	switch {
	case r == nil || r.from == "" && r.ctr == nil:
		return api.TierCold
	case r.from != "":
		return r.from
	case r.ctr.Meta()[metaRestored] != "":
		return api.TierCheckpointed
	}
	return api.TierCold
}

// placed says what the data path's set of a site tells of a replica. One that is
// not in it though others are is a spare one, or was being made or ended: whoever
// is to get packets is put there first, and taken out last.
func placed(was *site.Found, id bpf.ReplicaID, set bpf.Site) {
	in, others := false, false
	for _, r := range set.Replicas {
		if r.ID == id {
			in, was.Draining = true, r.Draining
			continue
		}
		others = others || !r.Draining
	}
	was.Spare = !in && others
}
