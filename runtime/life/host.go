package life

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// What the state machines are told besides the spec.
const (
	portGrace  = 2 * time.Second  // from the first listening port to giving up on the others
	stableTime = 10 * time.Second // a replica that lived so long is no crash loop
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
	// One of several replicas to which nobody connects for so long is not needed: scaling,
	// which has added it for a reason, mostly gives it back before.
	surplusIdle = 5 * time.Minute
	// A handshake that was under way when its replica began to drain has this
	// time: thrice the round trip that the kernel expects of a client it does not
	// know (RFC 6298: 1 s until it is measured), as its answer may be lost once.
	lingerTime = 3 * time.Second
)

// Host is what all sites of a node share: the machine, and what is done for one
// site at a time.
type Host struct {
	Cfg config.Config
	Log *slog.Logger

	Store        *store.Store
	Eventlog     *eventlog.Log
	Images       Images
	NamedVolumes *volume.Store
	Sources      *volume.Comparer
	Data         DataPath
	Net          Network
	Holder       Holder
	Has          func(controller string) bool // what can be limited here
	Now          func() uint64                // CLOCK_MONOTONIC, as the data path has it
	Containers   Containers
	AppArmor     apparmor.Profiles

	Starts      *priority.Slots
	Errands     *priority.Slots // wakes that nobody waits for
	Wakes       priority.Precedence
	Means       policy.Means
	prepared    preparedSet
	preparing   sync.Mutex // one replica is prepared at a time
	preparedMu  sync.Mutex // guards their file
	Experiences *policy.Store
	Plans       *policy.Plans
	Budget      *Budget
	Admission   *Admission
	Ahead       *Ahead
	Arrivals    *Arrivals
	imageDisk   imageDisk
	Disks       Disks
	Scale       *scale.Engine
	Finder      finder
	Quarantine  Quarantine
	Awake       awake // the sites that are not parked

	Ctx  context.Context //nolint:containedctx // of all work; ends when the daemon does
	Work sync.WaitGroup

	Numbers Numbers // of replicas
	inbox   inbox
}

// Finder finds sites.
type finder interface {
	All() []*Site
	ByName(name string) (*Site, error)
	ByID(id bpf.SiteID) *Site // nil: none
}

// Stopped says whether the daemon is ending.
func (h *Host) Stopped() bool { return h.Ctx.Err() != nil }

// policy is what the site's machine is told.
func (h *Host) policy(s *spec.Site, x *policy.Experience) site.Policy {
	var ladder []site.Rung
	for _, r := range h.choose(s, x).Rungs {
		ladder = append(ladder, site.Rung{Tier: r.Tier, After: r.After})
	}
	return site.Policy{
		Min: s.Scale.Min, Max: s.Scale.Max, Ladder: ladder,
		StartTimeout: h.startTimeout(s), PortGrace: portGrace,
		Stable: stableTime, BackoffMin: backoffMin, BackoffMax: backoffMax,
		Unused: time.Duration(h.Cfg.Wake.Unused), Surplus: cmp.Or(time.Duration(s.Idle.After), surplusIdle),
		Lifetime: time.Duration(s.Lifetime.After), Linger: lingerTime, Drain: time.Duration(s.Circulate.Drain),
		Overlap: s.Circulate.Overlap, Ahead: s.Circulate.Ahead,
		KeepConns: time.Duration(s.KeepConnections), BusyMost: time.Duration(h.Cfg.Busy.Most), Spares: h.Means.Spares(s), SpareTier: detect.Tier(s.Scale.Spare.Tier),
	}
}

// holdMargin is how much longer a visitor is held than his site's start may take, so
// that it is the start's outcome that answers him.
const holdMargin = time.Second

// holdsFor is how long the site's visitors are held at least.
func (st *Site) holdsFor() time.Duration {
	return holdMargin + time.Duration(cmp.Or(st.startTimeout, st.Host.Cfg.Start.Timeout))
}

// HeldLong says that a site's start may take longer than the node holds packets of
// others, of which those in front of the node have to know; empty: it may not.
func (h *Host) HeldLong(s *spec.Site) []string {
	start, hold := h.startTimeout(s), time.Duration(h.Cfg.Hold.Deadline)
	if start <= hold {
		return nil
	}
	return []string{fmt.Sprintf("start.timeout: visitors may be held for %s, longer than others' (hold.deadline, %s): what connects to this node for them, a gateway or a load balancer, must wait as long",
		spec.Duration(start), spec.Duration(hold))}
}

func (h *Host) startTimeout(s *spec.Site) time.Duration {
	if s.Start.Timeout > 0 {
		return time.Duration(s.Start.Timeout)
	}
	return time.Duration(h.Cfg.Start.Timeout)
}

// NoNumbers logs that none can be reserved.
func (h *Host) NoNumbers(err error) {
	h.Log.Error("cannot reserve replica numbers; going on with unreserved ones", "error", err)
}

// Tell adds an event to the log.
func (h *Host) Tell(ev event.Event) {
	ev, err := h.Eventlog.Append(ev)
	if err != nil {
		h.Log.Error("an event is not on disk", "error", err)
	}
	h.Log.Info(ev.Kind, "site", ev.Site, "replica", ev.Replica, "reason", ev.Story())
}

// LogDir is where the output of a site's replicas is kept.
func (h *Host) LogDir(siteName string) string {
	return filepath.Join(h.Cfg.StateDir, "logs", siteName)
}

// DigestOf is the spec's digest without its text form, which takes thrice the
// memory.
func DigestOf(s *spec.Site) (out [32]byte) {
	_, text, _ := strings.Cut(s.Digest(), ":")
	// of a digest that this program has just made
	_, _ = hex.Decode(out[:], []byte(text))
	return out
}
