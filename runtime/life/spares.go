package life

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/scale"
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

// armSpare sets the timer of the next spare replica.
func (l *Live) armSpare(after time.Duration, latest time.Time) {
	l.arm(timerKey{kind: timerSpare}, after, func() site.Event {
		if why := l.Host.busy(); why != "" && time.Now().Before(latest) {
			l.Host.Log.Debug("a spare replica is put off", "site", l.Name, "why", why)
			l.armSpare(spareAgain, latest)
			return nil
		}
		return site.SpareDue{}
	})
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
// that time.
func (st *Site) readySpare(r *Replica, s *spec.Site) {
	if err := st.Host.Data.BeginWake(bpf.ReplicaID(r.ID)); err != nil {
		st.Host.Log.Debug("the first connection of a spare replica will not be told", "replica", r.Name, "error", err)
	}
	if r.Ctr == nil {
		return
	}
	if err := r.Ctr.Group().Apply(scale.Settable(st.Host.Scale.StartLimits(st.ID, s), st.Host.Has)); err != nil {
		st.Host.Log.Error("a spare replica keeps the limits that it had", "replica", r.Name, "error", err)
	}
}

// followJoin gives a spare replica that joins those that serve a trace of its own,
// as one that is started has.
func (r *Replica) followJoin(l *Live) {
	m, ok := l.Machine.Replica(r.ID)
	if !ok || !m.Joining() {
		return
	}
	r.from = m.Tier
	if r.from == "" {
		r.from = detect.TierFrozen // it was on its way there
	}
	if r.trace == nil {
		r.trace = l.newTrace(l.Host.Now(), event.StepAsked)
		r.trace.replica(r.Name)
		r.trace.from(r.from)
	}
}

// cameFrom is the tier from which a replica came to serve.
func cameFrom(r *Replica) detect.Tier {
	switch {
	case r == nil || r.from == "" && r.Ctr == nil:
		return detect.TierCold
	case r.from != "":
		return r.from
	case r.Ctr.Meta()[metaRestored] != "":
		return detect.TierCheckpointed
	}
	return detect.TierCold
}

// busy says why nothing is started now that nobody waits for; empty: it may be.
func (h *Host) busy() string {
	if m, err := h.Means.Memory.Read(); err == nil && m.Short(h.Cfg.Reclaim.Below.Share()) {
		return "memory is short (reclaim.below)"
	}
	if h.Starts.Full() {
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
