package life

import (
	"context"
	"fmt"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// findTier says how a replica that was found sleeps. One whose mark is gone has a
// visitor: his knock may have died with the daemon that read it. Anything
// half-done is undone. A spare one has no mark: nothing is sent to it.
func (h *Host) findTier(r *Replica, s *spec.Site, st bpf.ReplicaStats, was *site.Found) {
	defer func() { h.boundSwap(r, s, r.frozen) }()
	r.asleep = st.Asleep
	frozen, err := r.Ctr.Group().Frozen()
	if err != nil {
		h.Log.Error("cannot tell whether a replica is frozen; taking it for awake", "replica", r.Name, "error", err)
	}
	if !frozen {
		return
	}
	if st.Asleep || was.Spare {
		r.frozen = true
		was.Asleep = detect.TierFrozen
		return
	}
	if err := r.Ctr.Group().Thaw(h.Ctx); err != nil {
		h.Log.Error("cannot thaw a replica; its visitors wait", "replica", r.Name, "error", err)
	}
}

// Rouse makes a sleeping replica run for who needs it otherwise than by packets.
func (st *Site) Rouse(ctx context.Context, r *Replica) error {
	st.Send(site.Knocked{ID: r.ID}) // one that runs passes over it
	err := st.Wait(ctx, func(a *Activity) bool { return a == nil || a.awake(r.ID) })
	if err != nil {
		return fmt.Errorf("wait for replica %s to run again: %w", r.Name, err)
	}
	return nil
}

// awake says whether a replica runs, or never will.
func (a *Activity) awake(id site.ReplicaID) bool {
	m, ok := a.Machine.Replica(id)
	return !ok || (m.Tier == detect.TierRunning && m.State != site.Suspending && m.State != site.Resuming)
}

// followRise gives a replica that is to run again the trace of the packet or the
// person for whom it is, and says whether it did: not if it has one, of a packet
// that knocked.
func (a *Activity) followRise(r *Replica) bool {
	if r.trace != nil || a.trace == nil {
		return false
	}
	r.trace, a.trace = a.trace, nil
	r.trace.replica(r.Name)
	if m, ok := a.Machine.Replica(r.ID); ok {
		r.trace.from(m.Tier)
	}
	return true
}

// reclaim pushes the memory of a frozen replica out, but for what it keeps.
func (h *Host) reclaim(ctx context.Context, r *Replica, s *spec.Site) error {
	g := r.Ctr.Group()
	has, err := g.MemoryCurrent()
	if err != nil {
		return err
	}
	want := has - min(max(uint64(h.Cfg.Reclaim.Keep), uint64(s.Limits.Memory.Min)), has)
	got, err := g.Reclaim(ctx, want)
	h.Log.Debug("reclaimed", "replica", r.Name, "had", has, "wanted", want, "got", got, "error", err)
	return err
}

// endByHand ends the trace of a wake that no packet began.
func (h *Host) endByHand(r *Replica) {
	if r.trace.byHand() && !r.trace.knocked() {
		r.endWake()
		h.endTrace(r.trace, event.ResultOK, "")
		r.trace = nil
	}
}
