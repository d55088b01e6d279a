package scale

import (
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// SwapAwake is what of a replica may lie in swap while it is awake, as the kernel is told; bounded is false where
// its swap is never touched.
//
// With swap, memory.max alone bounds nothing: a site beyond it is pushed out and read back page by page for ever, which takes
// processors and disks from its neighbours, where without swap it is killed, started anew and reported.
func SwapAwake(l spec.MemoryLimits) (limit int64, bounded bool) {
	bytes, bounded := l.Keep()
	switch {
	case !bounded:
		return 0, false
	case bytes == 0:
		return cgroup.NoSwap, true
	}
	return int64(bytes), true
}
