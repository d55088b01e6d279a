package netctl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// checkCapabilities asks whether the calling thread may do what Setup does:
// links and routes, held packets, namespaces and mounts.
func checkCapabilities(cfg Config) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // as version 3 wants it
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("reading the capabilities of the process: %w", err)
	}
	type capability struct {
		number uint
		name   string
	}
	needed := []capability{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	}
	if cfg.MountNS != nil {
		needed = append(needed, capability{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"})
	}
	var missing []string
	for _, c := range needed {
		if data[c.number/32].Effective&(1<<(c.number%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return &MissingCapabilityError{Capabilities: missing}
	}
	return nil
}
