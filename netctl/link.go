package netctl

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hwAddr is the one hardware address of the device, all host ends and all eth0.
// A packet for one of them is a packet for each, so it can be redirected as it
// is.
var hwAddr = net.HardwareAddr{0x02, 0xfc, 0x00, 0x00, 0x00, 0x01}

// routeProtocol marks the routes of fcnode (`ip route show proto 252`); the
// number is not assigned in iproute2's rt_protos.
const routeProtocol = 252

const inet6AddrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

// deviceKinds are tried in this order. Both drop whatever the steering program
// has not taken: a dummy by its nature, an ifb as nobody redirected to it.
var deviceKinds = []func(netlink.LinkAttrs) netlink.Link{
	func(a netlink.LinkAttrs) netlink.Link { return &netlink.Dummy{LinkAttrs: a} },
	func(a netlink.LinkAttrs) netlink.Link { return &netlink.Ifb{LinkAttrs: a} },
}

// findLink returns nil without an error where there is no such device.
func findLink(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for device %s: %w", name, err)
	}
	return l, nil
}

// ours checks an existing device of a name that fcnode uses.
func ours(l netlink.Link, kinds ...string) error {
	for _, k := range kinds {
		if l.Type() == k && bytes.Equal(l.Attrs().HardwareAddr, hwAddr) {
			return nil
		}
	}
	want := kinds[0]
	for _, k := range kinds[1:] {
		want += " or " + k
	}
	return &ForeignDeviceError{Device: l.Attrs().Name, Kind: l.Type(), MAC: l.Attrs().HardwareAddr, Want: fmt.Sprintf("a %s with address %s", want, hwAddr)}
}

func kindNames() (names []string) {
	for _, k := range deviceKinds {
		names = append(names, k(netlink.LinkAttrs{}).Type())
	}
	return names
}

// linkAdder is the part of a netlink handle that addDevice needs.
type linkAdder interface{ LinkAdd(netlink.Link) error }

// addDevice makes the device, of the first kind that the kernel has.
func addDevice(h linkAdder, name string, mtu int) error {
	for _, kind := range deviceKinds {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU = name, mtu
		a.HardwareAddr = hwAddr // an ifb takes it at its birth only
		l := kind(a)
		err := h.LinkAdd(l)
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return fmt.Errorf("make device %s (%s): %w", name, l.Type(), err)
		}
		return nil
	}
	return &LinkKindError{Kinds: kindNames()}
}

// quiet makes a device speak for nobody: no ARP, no addresses of its own
// making; then sets it up.
func quiet(h *netlink.Handle, l netlink.Link) error {
	name := l.Attrs().Name
	if err := h.LinkSetARPOff(l); err != nil {
		return fmt.Errorf("set ARP off on %s: %w", name, err)
	}
	// EAFNOSUPPORT: no IPv6 in this kernel, so nothing to keep quiet.
	if err := h.LinkSetIP6AddrGenMode(l, inet6AddrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("set addrgenmode none on %s: %w", name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// deleteLink takes a device away; one that is gone already is fine.
func deleteLink(h *netlink.Handle, l netlink.Link) error {
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove device %s: %w", l.Attrs().Name, err)
	}
	return nil
}
