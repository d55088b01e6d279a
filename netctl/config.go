package netctl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sinkSuffix makes the sink's host end out of the device's name.
const sinkSuffix = "-sink"

// Config says what [Setup] makes. The zero values of Pool and MTU stand for
// their defaults; the rest has to be given.
type Config struct {
	// Device is the name of the device that takes the prefixes ("fc0"): at most
	// 10 bytes, as the sink's host end is called <Device>-sink.
	Device string
	// Prefixes are the VIPs of this node, IPv4 and IPv6, none inside another.
	Prefixes []netip.Prefix
	// Uplinks are the devices by which outside clients come in. They get the
	// fast path's program and, where forwarding is off, per-device forwarding.
	Uplinks []string
	// RunDir keeps the sink (a mount) and the record of changed settings. It
	// should not outlive a boot: /run/fcnode.
	RunDir string
	// Pool is how many namespaces are kept ready (4).
	Pool int
	// MTU of all devices of fcnode, in bytes; 0: the smallest of the uplinks',
	// 1500 without uplinks.
	MTU int
	// Egress is how connections that replicas begin leave the machine.
	Egress Egress
	// MountNS is the mount namespace in which the sink is pinned; nil: the
	// caller's. A daemon in a private mount namespace (hybrid hosts) passes the
	// one it was started from, where the sink outlives it. If it cannot, the
	// sink ends with the daemon's last process: until the next Setup makes a new
	// one, what would have been refused meets silence. Running replicas are not
	// concerned.
	MountNS *os.File
	// Damaged is called when the record of changed settings cannot be read, and is
	// to move it away; nil: Setup fails.
	Damaged func(*DamagedRecordError)
	// Yield is called before a namespace is made ahead, and returns when that
	// may be done; it is to return when hurry is closed. nil: at once.
	Yield func(hurry <-chan struct{})
	// Guard calls what is tried again after an error, and makes an error of its
	// panic; nil: it is called without.
	Guard func(f func() error) error
}

// guarded calls f by the guard.
func (c Config) guarded(f func() error) error {
	if c.Guard == nil {
		return f()
	}
	return c.Guard(f)
}

// HoldConfig bounds what a [Holder] keeps.
type HoldConfig struct {
	PerSite  int           // flows of one site: of UDP all datagrams of one, bpf.Flight times as many in all
	Total    int           // packets of all sites
	Deadline time.Duration // how long a packet is kept
}

func (c Config) sinkName() string      { return c.Device + sinkSuffix }
func (c Config) sinkPath() string      { return filepath.Join(c.RunDir, "sink") }
func (c Config) sysctlLogPath() string { return filepath.Join(c.RunDir, "settings.json") }

func (c Config) has6() bool {
	for _, p := range c.Prefixes {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// Validate checks what can be checked without looking at the machine.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if longest := unix.IFNAMSIZ - 1 - len(sinkSuffix); c.Device == "" || len(c.Device) > longest || strings.ContainsAny(c.Device, "/:% \t\n") {
		bad("device name %q: must have 1 to %d characters, none of them a space, '/', ':' or '%%'", c.Device, longest)
	}
	if c.RunDir == "" || !filepath.IsAbs(c.RunDir) {
		bad("run directory %q: must be an absolute path", c.RunDir)
	}
	if c.Pool < 0 {
		bad("pool size %d: must not be negative", c.Pool)
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 65535) {
		bad("MTU %d: must be between 1280 (the least that IPv6 allows) and 65535", c.MTU)
	}
	for i, u := range c.Uplinks {
		if u == c.Device || u == c.sinkName() {
			bad("uplink %q is a device of fcnode itself", u)
		}
		for _, v := range c.Uplinks[:i] {
			if u == v {
				bad("uplink %q is named twice", u)
			}
		}
	}
	errs = append(errs, validatePrefixes(c.Prefixes)...)
	return errors.Join(errs...)
}

func validatePrefixes(prefixes []netip.Prefix) (errs []error) {
	if len(prefixes) == 0 {
		errs = append(errs, errors.New("no prefix: at least one is needed to take VIPs from"))
	}
	for i, p := range prefixes {
		switch a := p.Addr(); {
		case !p.IsValid():
			errs = append(errs, fmt.Errorf("prefix %d is not valid", i))
			continue
		case a.Is4In6():
			errs = append(errs, fmt.Errorf("prefix %s: write it as IPv4", p))
		case p != p.Masked():
			errs = append(errs, fmt.Errorf("prefix %s has bits set behind its length: %s is meant", p, p.Masked()))
		case p.Bits() == 0, a.IsLoopback(), a.IsMulticast(), a.IsUnspecified(), a.IsLinkLocalUnicast():
			errs = append(errs, fmt.Errorf("prefix %s: neither the whole internet nor loopback, link-local or multicast addresses can be VIPs", p))
		}
		for _, q := range prefixes[:i] {
			if p.Overlaps(q) {
				errs = append(errs, fmt.Errorf("prefixes %s and %s overlap", q, p))
			}
		}
	}
	return errs
}
