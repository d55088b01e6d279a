package node

import (
	"errors"
	"os"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// swapAwake is what of a replica may lie in swap while it is awake, as the kernel is told; bounded is false where
// its swap is never touched.
//
// With swap, memory.max alone bounds nothing: a site beyond it is pushed out and read back page by page for ever, which takes
// processors and disks from its neighbours, where without swap it is killed, started anew and reported.
func swapAwake(l spec.MemoryLimits) (limit int64, bounded bool) {
	bytes, bounded := l.Keep()
	switch {
	case !bounded:
		return 0, false
	case bytes == 0:
		return cgroup.NoSwap, true
	}
	return int64(bytes), true
}

// boundSwap gives a replica the swap of one that sleeps, which is all, or of one that is awake. It is lifted before a
// replica is frozen and bound again after it runs, so that neither a reclaim finds no swap nor a visitor waits for the write. Less than
// lies in swap never kills: what is there comes back when it is needed, and no more goes.
//
// A daemon that dies in between leaves one too many or too few to swap, no more; the next one puts it right when it finds the replica.
func (n *Node) boundSwap(r *replica, s *spec.Site, asleep bool) {
	limit, bounded := swapAwake(s.Limits.Memory)
	if !bounded || !n.parent.Has("memory") {
		return
	}
	if asleep {
		limit = 0
	}
	err := r.ctr.Group().Apply(cgroup.Change{MemorySwap: &limit})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it has ended
		n.log.Error("cannot say how much of a replica may lie in swap", "replica", r.name, "asleep", asleep, "error", err)
	}
}
