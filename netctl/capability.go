package netctl

import (
	"fmt"
	"strings"

	"github.com/moby/sys/capability"
)

// checkCapabilities returns an error unless the calling thread may do what
// Setup does: links and routes, held packets, namespaces and mounts.
func checkCapabilities(cfg Config) error {
	have, err := capability.NewPid2(0)
	if err == nil {
		err = have.Load()
	}
	if err != nil {
		return fmt.Errorf("read the capabilities of the thread: %w", err)
	}
	needed := []capability.Cap{capability.CAP_NET_ADMIN, capability.CAP_NET_RAW, capability.CAP_SYS_ADMIN}
	if cfg.MountNS != nil {
		needed = append(needed, capability.CAP_SYS_CHROOT)
	}
	var missing []string
	for _, c := range needed {
		if !have.Get(capability.EFFECTIVE, c) {
			missing = append(missing, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	if len(missing) > 0 {
		return &MissingCapabilityError{Capabilities: missing}
	}
	return nil
}
