package netctl

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// AnswersFrom says by which link of the calling thread's network namespace answers
// from an address come in, and whether the kernel passes on what comes in there.
// Where it does not, sites send to the address and never hear of it. link is empty
// for an address of the machine's own.
func AnswersFrom(addr netip.Addr) (link string, forwarded bool, err error) {
	got, err := netlink.RouteGet(addr.AsSlice())
	if err != nil {
		return "", false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	if len(got) == 0 || got[0].LinkIndex == 0 {
		return "", false, fmt.Errorf("ask for the route to %s: the kernel names no link", addr)
	}
	l, err := netlink.LinkByIndex(got[0].LinkIndex)
	if err != nil {
		return "", false, fmt.Errorf("ask for the link to %s: %w", addr, err)
	}
	link = l.Attrs().Name
	if l.Attrs().Flags&net.FlagLoopback != 0 {
		return "", true, nil
	}
	switches := []string{conf4(link, "forwarding")}
	if addr.Is6() {
		switches = []string{conf6("all", "forwarding"), conf6(link, "force_forwarding")}
	}
	for _, s := range switches {
		if v, err := readSysctl(s); err == nil && v != "0" { // not all kernels have the last one
			return link, true, nil
		}
	}
	return link, false, nil
}
