package netctl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

var (
	// ErrClosed is returned by what was closed before or during the call.
	ErrClosed = errors.New("closed")
	// ErrNoIPv6 is returned by Setup for an IPv6 prefix on a kernel without IPv6.
	ErrNoIPv6 = errors.New("this kernel has no IPv6 (or ipv6.disable=1 on its command line)")
	// ErrHoldSiteFull says that a packet was not kept because of the cap on its
	// site. Its sender will repeat it.
	ErrHoldSiteFull = errors.New("as many clients are held for this site as may be")
	// ErrHoldTotalFull says so of the cap on all sites together.
	ErrHoldTotalFull = errors.New("as many packets are held as may be")
	// ErrNotAFrame is returned for a held packet that cannot be sent again.
	ErrNotAFrame = errors.New("not a whole Ethernet frame of IPv4 or IPv6")
)

// OverlapError says that a prefix is in use on this machine already.
type OverlapError struct {
	Prefix netip.Prefix // as configured
	Other  netip.Prefix // what it overlaps
	What   string       // "address" or "route"
	Device string       // that has it; may be empty
}

func (e *OverlapError) Error() string {
	on := ""
	if e.Device != "" {
		on = " of device " + e.Device
	}
	return fmt.Sprintf("prefix %s overlaps the %s %s%s: give fcnode a prefix that nothing else uses (prefixes in fcnode.yaml), or remove the %s",
		e.Prefix, e.What, e.Other, on, e.What)
}

// ShadowedError says that packets for a prefix do not come to the device though
// its route is there: a routing rule or another table wins.
type ShadowedError struct {
	Prefix netip.Prefix
	Device string // where packets would go; may be empty
	Err    error  // of the look-up, if it failed
}

func (e *ShadowedError) Error() string {
	to := "device " + e.Device
	if e.Err != nil {
		to = e.Err.Error()
	}
	return fmt.Sprintf("packets for prefix %s do not reach fcnode (they meet: %s): a rule of `ip rule` sends them to another table; add one before it: ip rule add to %s lookup main pref 100",
		e.Prefix, to, e.Prefix)
}

func (e *ShadowedError) Unwrap() error { return e.Err }

// ForeignDeviceError says that a name fcnode needs belongs to somebody else.
type ForeignDeviceError struct {
	Device string
	Kind   string
	MAC    net.HardwareAddr
	Want   string
}

func (e *ForeignDeviceError) Error() string {
	return fmt.Sprintf("device %s exists and is not fcnode's (it is a %s with address %s; fcnode's is %s): rename it, or choose another name (device in fcnode.yaml)",
		e.Device, e.Kind, e.MAC, e.Want)
}

// MissingCapabilityError names the rights that the process lacks.
type MissingCapabilityError struct{ Capabilities []string }

func (e *MissingCapabilityError) Error() string {
	return fmt.Sprintf("missing %s: run fcnode as root, or give its unit these capabilities (AmbientCapabilities=)",
		strings.Join(e.Capabilities, ", "))
}

// LinkKindError says that the kernel can make none of the kinds of device.
type LinkKindError struct{ Kinds []string }

func (e *LinkKindError) Error() string {
	return fmt.Sprintf("the kernel knows neither of the device kinds %s: load one of the modules (modprobe %s) or build one in (CONFIG_DUMMY, CONFIG_IFB)",
		strings.Join(e.Kinds, ", "), e.Kinds[0])
}

// MissingUplinkError says that a configured uplink is not there.
type MissingUplinkError struct {
	Uplink string
	Have   []string
}

func (e *MissingUplinkError) Error() string {
	return fmt.Sprintf("uplink %q does not exist: there are %s (uplinks in fcnode.yaml)", e.Uplink, strings.Join(e.Have, ", "))
}

// DamagedRecordError means that the record of the settings that earlier daemons
// changed cannot be read.
type DamagedRecordError struct {
	Path string
	Err  error
}

func (e *DamagedRecordError) Error() string {
	return fmt.Sprintf("reading the record of changed settings %s: %v (without it fcnode cannot put them back; move the file away to go on)", e.Path, e.Err)
}

func (e *DamagedRecordError) Unwrap() error { return e.Err }
