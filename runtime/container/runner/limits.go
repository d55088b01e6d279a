package runner

import (
	"fmt"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// resourceLimit is one that a container has whatever its daemon was started
// with.
type resourceLimit struct {
	kind       int
	soft, hard uint64
}

// explicitLimits do not depend on who has started the daemon.
var explicitLimits = []resourceLimit{
	// Programs that close all descriptors before they execute others take the soft
	// limit for their number.
	{unix.RLIMIT_NOFILE, 1 << 16, 1 << 19},
	{unix.RLIMIT_MEMLOCK, 8 << 20, 8 << 20}, // the kernel's own
	{unix.RLIMIT_CORE, 0, 0},                // dumps go to the machine's own handler, or fill a volume
	{unix.RLIMIT_MSGQUEUE, 800 << 10, 800 << 10},
	// The kernel counts these for each user of the machine, so that one site would
	// use up another's; pids.max bounds each site by itself.
	{unix.RLIMIT_NPROC, unix.RLIM_INFINITY, unix.RLIM_INFINITY},
}

// resourceLimits are the explicit ones, as far as this process may give them.
func resourceLimits() ([]configs.Rlimit, error) {
	var limits []configs.Rlimit
	for _, l := range explicitLimits {
		var own unix.Rlimit
		if err := unix.Prlimit(0, l.kind, nil, &own); err != nil {
			return nil, fmt.Errorf("reading resource limit %d: %w", l.kind, err)
		}
		hard := min(l.hard, own.Max) // raising it takes CAP_SYS_RESOURCE
		limits = append(limits, configs.Rlimit{Type: l.kind, Hard: hard, Soft: min(l.soft, hard)})
	}
	return limits, nil
}
