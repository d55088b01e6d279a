package life

import (
	"errors"
	"os"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/spec"
)

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
