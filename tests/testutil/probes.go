//go:build linux

package testutil

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// probeLink tries to make a link of a kind, in a network namespace that is thrown away.
func probeLink(kind string) func() error {
	return func() error {
		ns, err := newNetNS()
		if err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		h, err := netlink.NewHandleAt(ns)
		if err != nil {
			return errors.Join(err, ns.Close())
		}
		defer h.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "probe0"
		if err := h.LinkAdd(&netlink.GenericLink{LinkAttrs: attrs, LinkType: kind}); err != nil {
			return errors.Join(fmt.Errorf("adding a link of kind %s: %w", kind, err), ns.Close())
		}
		return ns.Close()
	}
}
