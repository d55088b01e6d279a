package check

import (
	"fmt"
	"strings"

	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// egress says how what sites begin leaves the machine.
func (c *checker) egress() {
	const name, why = "egress", "connections that sites begin (to databases, mail, APIs) leave the node so"
	way := netctl.Egress(c.cfg.Egress)
	ways := make([]string, 0, len(c.cfg.Prefixes))
	needed := false
	for i, p := range c.cfg.Prefixes {
		of := way.Of(p)
		needed = needed || of != netctl.EgressRouted
		if i+1 < len(c.cfg.Prefixes) && way.Of(c.cfg.Prefixes[i+1]) == of {
			ways = append(ways, p.String()+" and ")
			continue
		}
		ways = append(ways, fmt.Sprintf("%s %s, ", p, of))
	}
	found := strings.TrimSuffix(strings.Join(ways, ""), ", ")
	if len(c.cfg.Uplinks) == 0 {
		found += "; no uplinks are configured, so forwarding is not switched on for answers from outside"
	}
	if !needed {
		c.add(name, OK, found, why, "")
		return
	}
	if err := c.m.NFTables(); err != nil {
		status := Warn
		if way != "" {
			status = Fail // the daemon does not start
		}
		c.failed(name, status, fmt.Errorf("%s: %w", found, err), why, "use a kernel with CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ and CONFIG_NFT_REJECT_INET, or say egress: routed where routers outside know the way to the sites")
		return
	}
	c.add(name, OK, found, why, "")
}

// NFTables implements [Machine] in a network namespace of its own.
func (Local) NFTables() error {
	return thread.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		return netctl.ProbeEgress()
	})
}
