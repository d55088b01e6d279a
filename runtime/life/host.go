package life

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// FindCRIU looks for the program in the background, as it has to be started for
// that, and tells the sites that are awake.
func (h *Host) FindCRIU() {
	h.Work.Go(func() {
		tool, err := h.Containers.CRIU(h.Ctx)
		h.Means.CRIU.Found(err)
		if err != nil {
			h.Log.Info("sites are not checkpointed", "why", err)
			h.NewLadders()
			return
		}
		h.Log.Info("sites can be checkpointed", "by", tool.String())
		images := false
		for _, e := range h.Finder.All() {
			l := e.lock()
			images = images || l.Image
			l.unlock()
		}
		if images {
			_ = h.Containers.ExpectRestores(h.Ctx) // it was there a moment ago
		}
	})
}

// counted is what the kernel has counted for one replica.
func (h *Host) counted(r *Replica) (bpf.Load, error) {
	id := bpf.ReplicaID(r.ID)
	all, err := h.Data.LoadOf(id)
	return all[id], err
}

func (h *Host) CheckpointsDir() string { return filepath.Join(h.Cfg.StateDir, "checkpoints") }

func (h *Host) CheckpointDir(siteName string) string {
	return filepath.Join(h.CheckpointsDir(), siteName)
}

// RemoveImage removes the site's image, if there is one: it cannot be restored
// from when this returns.
func (h *Host) RemoveImage(siteName string) {
	spent, err := criu.Consume(h.CheckpointDir(siteName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		h.Log.Error("a checkpoint that is not to be used cannot be removed", "site", siteName, "error", err)
		return
	}
	h.Work.Go(func() {
		if err := criu.Discard(spent); err != nil {
			h.Log.Error("what is left of a checkpoint, which nobody can use any more, stays on disk; it is tried again when a daemon starts", "folder", spent, "error", err)
		}
	})
}

// SweepLeft removes, in the background, what earlier daemons have left of checkpoints.
// Monitors of theirs may still restore from it, or serve memory: they remove it when they have read
// all. Those of them that are killed before are why it looks again.
func (h *Host) SweepLeft() {
	h.Work.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for h.SweepImages() > 0 {
			select {
			case <-tick.C:
			case <-h.Ctx.Done():
				return // the next daemon goes on
			}
		}
	})
}

// SweepImages looks once, and gives how many are being read, or made.
func (h *Host) SweepImages() int {
	held, err := criu.Sweep(h.CheckpointsDir())
	if err != nil {
		h.Log.Error("what is left of checkpoints stays on disk for now", "error", err)
	}
	return held
}

// addImage counts a new image, and drops the oldest while all of them take more
// disk than they may; then a tenth more, so that not every image makes for a look
// at all others.
func (h *Host) addImage(bytes int64) {
	most := int64(h.Cfg.Checkpoints.Disk)
	d := &h.imageDisk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += bytes
	if d.looked && d.bytes <= most {
		return
	}
	all, err := h.keptImages()
	if err != nil {
		h.Log.Error("cannot tell how much disk the checkpoints take", "error", err)
		return
	}
	d.looked, d.bytes = true, 0
	for _, i := range all {
		d.bytes += i.bytes
	}
	if d.bytes <= most {
		return
	}
	for _, i := range all[:max(0, len(all)-1)] { // not the newest
		if d.bytes <= most-most/10 {
			return
		}
		d.bytes -= i.bytes
		if e, err := h.Finder.ByName(i.site); err == nil {
			l := e.lock()
			l.DropSleep("it made room for another site's (checkpoints.disk)")
			l.unlock()
		}
	}
}

// keptImages are all of them, the oldest first.
func (h *Host) keptImages() ([]keptImage, error) {
	names, err := criu.List(h.CheckpointsDir())
	if err != nil {
		return nil, err
	}
	var all []keptImage
	for _, name := range names {
		if m, err := completeImage(h.CheckpointDir(name)); err == nil {
			all = append(all, keptImage{site: name, made: m.Created, bytes: m.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b keptImage) int { return a.made.Compare(b.made) })
	return all, nil
}

func (h *Host) NotKept(siteName string, err error) {
	h.Log.Error("what was learnt of a site is not kept", "site", siteName, "error", err)
}

// loadExperience gives it; what cannot be read is learnt anew.
func (h *Host) loadExperience(siteName string) *policy.Experience {
	x, err := h.Experiences.Load(siteName)
	if err != nil {
		h.Log.Warn("what was learnt of a site before is lost; it is learnt anew", "site", siteName, "error", err)
	}
	return x
}

// watchEmpty asks the data path to tell when a replica's last connection has
// ended.
func (h *Host) watchEmpty(id site.ReplicaID) site.Event {
	conns, err := h.Data.WatchEmpty(bpf.ReplicaID(id), true)
	if err != nil {
		h.Log.Error("the end of a draining replica's connections is not seen; it has its whole time", "replica", id, "error", err)
		return nil
	}
	if conns == 0 {
		return site.Emptied{ID: id}
	}
	return nil
}

// refuse answers those who are held with a RST (or port unreachable).
func (h *Host) refuse(id bpf.SiteID) {
	if _, err := h.Holder.Refuse(id); err != nil {
		h.Log.Warn("a held client could not be refused; it will find out at its next try", "site", id, "error", err)
	}
	if err := h.Data.ClearHold(id); err != nil {
		h.Log.Error("cannot reset the count of held packets", "site", id, "error", err)
	}
}

// What the state machines are told besides the spec.
const (
	settleTime = 2 * time.Second  // from the first listening port to giving up on the others
	stableTime = 10 * time.Second // a replica that lived so long is no crash loop
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
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

	Store      *store.Store
	Eventlog   *eventlog.Log
	Images     Images
	Data       DataPath
	Net        Network
	Holder     Holder
	Has        func(controller string) bool // what can be limited here
	Now        func() uint64                // CLOCK_MONOTONIC, as the data path has it
	Containers Containers

	Starts      *priority.Slots
	Wakes       priority.Precedence
	Means       policy.Means
	prepared    preparedSet
	preparing   sync.Mutex // one replica is prepared at a time
	preparedMu  sync.Mutex // guards their file
	Experiences *policy.Store
	imageDisk   imageDisk
	Scale       *scale.Engine
	Finder      finder
	Awake       awake // the sites that are not parked

	Ctx  context.Context //nolint:containedctx // of all work; ends when the daemon does
	Work sync.WaitGroup

	replicaMu   sync.Mutex
	NextReplica uint32 // next to give out; above lastReplica: none is left
	lastReplica uint32
}

// Finder finds sites.
type finder interface {
	All() []*Site
	ByName(name string) (*Site, error)
	ByID(id bpf.SiteID) *Site // nil: none
}

func (h *Host) Stopped() bool { return h.Ctx.Err() != nil }

// policy is what the site's machine is told.
func (l *Live) policy(s *spec.Site) site.Policy {
	return site.Policy{
		Min: s.Scale.Min, Max: s.Scale.Max, Ladder: l.ladder(s),
		StartTimeout: l.Host.startTimeout(s), Settle: settleTime,
		Stable: stableTime, BackoffMin: backoffMin, BackoffMax: backoffMax,
		Lifetime: time.Duration(s.Lifetime.After), Linger: lingerTime, Drain: time.Duration(s.Circulate.Drain),
		Overlap: s.Circulate.Overlap, Ahead: s.Circulate.Ahead,
		Spares: l.Host.Means.Spares(s), SpareTier: detect.Tier(s.Scale.Spare.Tier),
	}
}

func (h *Host) startTimeout(s *spec.Site) time.Duration {
	if s.Start.Timeout > 0 {
		return time.Duration(s.Start.Timeout)
	}
	return time.Duration(h.Cfg.Start.Timeout)
}

// newReplicaID never returns a number twice, also over restarts: they are taken
// from the store in blocks, so a wake does not wait for the disk.
func (h *Host) newReplicaID() site.ReplicaID {
	h.replicaMu.Lock()
	defer h.replicaMu.Unlock()
	if h.NextReplica > h.lastReplica {
		first, last, err := h.Store.ReplicaIDs()
		if err != nil {
			// The disk is full or broken. Numbers of this boot are unique all the
			// same, and nothing that outlives the boot is named by them.
			h.Log.Error("cannot reserve replica numbers; going on with unreserved ones", "error", err)
			first, last = h.lastReplica+1, h.lastReplica+1
		}
		h.NextReplica, h.lastReplica = first, last
	}
	id := h.NextReplica
	h.NextReplica++
	return site.ReplicaID(id)
}

func (h *Host) Tell(ev event.Event) {
	ev, err := h.Eventlog.Append(ev)
	if err != nil {
		h.Log.Error("an event is not on disk", "error", err)
	}
	h.Log.Info(ev.Kind, "site", ev.Site, "replica", ev.Replica, "reason", ev.Reason)
}

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

// makeRoom ends a prepared replica for a newer one.
func (h *Host) makeRoom(w *waiting) {
	l := w.e.lock()
	defer l.unlock()
	if l.Activity == nil || w.r.gate == nil {
		return // opened, or on its way out
	}
	w.r.gate.drop()
	l.handle(site.PrepareFailed{ID: w.r.ID, Reason: "it made room for another site's (prepared.max, prepared.memory)", NoRoom: true})
}

func (h *Host) PreparedFile() string { return filepath.Join(h.Cfg.StateDir, "prepared.json") }

// keepPrepared writes down for the next daemon who waits at a gate: the gates
// end with this one.
func (h *Host) keepPrepared() {
	h.preparedMu.Lock()
	defer h.preparedMu.Unlock()
	b, err := json.Marshal(h.prepared.sites())
	if err == nil {
		err = policy.ReplaceFile(h.PreparedFile(), b)
	}
	if err != nil {
		h.Log.Error("the next daemon will not know which sites to prepare", "error", err)
	}
}

func (h *Host) NewLadders() {
	for _, e := range h.Awake.All() {
		l := e.lock()
		if l.Activity != nil && !l.gone {
			l.newLadder()
		}
		l.unlock()
	}
}

// reclaim pushes the memory of a frozen replica out, as far as it is asked for.
func (h *Host) reclaim(ctx context.Context, r *Replica, s *spec.Site) error {
	g := r.Ctr.Group()
	has, err := g.MemoryCurrent()
	if err != nil {
		return err
	}
	node, err := h.Means.Memory.Read()
	if err != nil {
		return err
	}
	want := reclaimable(reclaimInput{
		has: has, keep: max(uint64(h.Cfg.Reclaim.Keep), uint64(s.Limits.Memory.Min)),
		asked: !s.Tiers.Auto, available: node.Available, total: node.Total, below: h.Cfg.Reclaim.Below.Share(),
	})
	got, err := g.Reclaim(ctx, want)
	h.Log.Debug("reclaimed", "replica", r.Name, "had", has, "wanted", want, "got", got, "error", err)
	return err
}

// endByHand ends the trace of a wake that no packet began. The caller holds the
// entry's mu.
func (h *Host) endByHand(r *Replica) {
	if r.trace.byHand() && !r.trace.knocked() {
		r.endWake()
		h.endTrace(r.trace, event.ResultOK, "")
		r.trace = nil
	}
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

// forget takes away what belongs to a replica that runs no more.
func (h *Host) forget(r *Replica) {
	h.forgetPlace(r)
	if r.Ctr != nil {
		h.removeContainer(r)
	}
}

// forgetPlace takes away a replica's place in the data path and in the network.
func (h *Host) forgetPlace(r *Replica) {
	if r.kernel.Site != 0 {
		h.notTidy(r, "data path", h.Data.RemoveReplica(bpf.ReplicaID(r.ID), r.kernel))
	}
	if r.ns != nil {
		h.notTidy(r, "network namespace", r.ns.Close())
	}
}

func (h *Host) removeContainer(r *Replica) { h.notTidy(r, "files", h.Containers.Remove(r.Name)) }

func (h *Host) notTidy(r *Replica, what string, err error) {
	if err != nil {
		h.Log.Error("cannot clean up after a replica", "replica", r.Name, "what", what, "error", err)
	}
}

// boundSwap gives a replica the swap of one that sleeps, which is all, or of one that is awake. It is lifted before a
// replica is frozen and bound again after it runs, so that neither a reclaim finds no swap nor a visitor waits for the write. Less than
// lies in swap never kills: what is there comes back when it is needed, and no more goes.
// A daemon that dies in between leaves one too many or too few to swap, no more; the next one puts it right when it finds the replica.
func (h *Host) boundSwap(r *Replica, s *spec.Site, asleep bool) {
	limit, bounded := scale.SwapAwake(s.Limits.Memory)
	if !bounded || !h.Has("memory") {
		return
	}
	if asleep {
		limit = 0
	}
	err := r.Ctr.Group().Apply(cgroup.Change{MemorySwap: &limit})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it has ended
		h.Log.Error("cannot say how much of a replica may lie in swap", "replica", r.Name, "asleep", asleep, "error", err)
	}
}

// endTrace journals a finished wake.
func (h *Host) endTrace(w *wakeTrace, result, failure string) {
	kind := event.Woken
	if result != event.ResultOK {
		kind = event.NotWoken
		w.mark(event.StepGivenUp, h.Now())
	}
	t, ok := w.finish(result, failure)
	if !ok {
		return
	}
	reason := failure
	if result == event.ResultOK && len(t.Steps) > 0 {
		last := t.Steps[len(t.Steps)-1]
		reason = last.Name + " after " + last.At.Duration().Round(10*time.Microsecond).String()
	}
	h.Tell(event.Event{
		Site: t.Site, Replica: t.Replica, Kind: kind, Reason: reason,
		Fields: map[string]any{event.FieldTrace: t},
	})
}
