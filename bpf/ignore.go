package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// IgnoredSource is a prefix of sources that are no visitors.
type IgnoredSource struct {
	Site   SiteID // 0: of all sites
	Prefix netip.Prefix
}

func (s IgnoredSource) key() dpFcIgnoreKey {
	return dpFcIgnoreKey{
		Prefixlen: ignoreFixed + uint32(mappedBits(s.Prefix)), Owner: uint32(s.Site), Addr: toAddr(s.Prefix.Masked().Addr()),
	}
}

// ignoreFixed is FC_IGNORE_FIXED: what of a key is before the address.
const ignoreFixed = 32

// IgnoredPackets is what has come from ignored sources: first packets of a flow,
// and those that would have woken the site.
type IgnoredPackets struct {
	Awake  uint64 // the site served them
	Asleep uint64 // they were refused, or answered by the daemon
}

// Ignoring is which sources are no visitors, and what they get.
type Ignoring struct{ objs *dpObjects }

// SetIgnored ignores a prefix of sources; again is fine.
func (d Ignoring) SetIgnored(s IgnoredSource) error {
	if err := d.objs.FcIgnore.Put(s.key(), uint32(1)); err != nil {
		return fmt.Errorf("ignore %s at site %d in the data path (room for %d prefixes of all sites): %w", s.Prefix, s.Site, d.objs.FcIgnore.MaxEntries(), err)
	}
	return nil
}

// DeleteIgnored makes them visitors again; a prefix that is not there is no error.
func (d Ignoring) DeleteIgnored(s IgnoredSource) error {
	if err := ignoreMissing(d.objs.FcIgnore.Delete(s.key())); err != nil {
		return fmt.Errorf("ignore %s at site %d no more: %w", s.Prefix, s.Site, err)
	}
	return nil
}

// Ignored returns all prefixes of sources that are ignored.
func (d Ignoring) Ignored() (map[IgnoredSource]bool, error) {
	out := make(map[IgnoredSource]bool)
	var k dpFcIgnoreKey
	var v uint32
	it := d.objs.FcIgnore.Iterate()
	for it.Next(&k, &v) {
		out[IgnoredSource{SiteID(k.Owner), fromMapped(k.Addr, int(k.Prefixlen)-ignoreFixed)}] = true
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the sources that the data path ignores: %w", err)
	}
	return out, nil
}

// SetIgnoredAnswer says whether ignored sources are answered by the listeners of
// AttachAnswer while the site sleeps, or refused. Site 0: for all that do not say.
func (d Ignoring) SetIgnoredAnswer(id SiteID, answer bool) error {
	gets := dpFcIgnoredGetsFC_IGNORED_REFUSED
	if answer {
		gets = dpFcIgnoredGetsFC_IGNORED_ANSWERED
	}
	if err := d.objs.FcIgnoreHow.Put(uint32(id), uint32(gets)); err != nil {
		return fmt.Errorf("set what ignored sources get at site %d (room for %d sites): %w", id, d.objs.FcIgnoreHow.MaxEntries(), err)
	}
	return nil
}

// DeleteIgnoredAnswer leaves that to what is said for all sites.
func (d Ignoring) DeleteIgnoredAnswer(id SiteID) error {
	if err := ignoreMissing(d.objs.FcIgnoreHow.Delete(uint32(id))); err != nil {
		return fmt.Errorf("reset what ignored sources get at site %d: %w", id, err)
	}
	return nil
}

// IgnoredAnswers returns what was said for which sites.
func (d Ignoring) IgnoredAnswers() (map[SiteID]bool, error) {
	out := make(map[SiteID]bool)
	var id, gets uint32
	it := d.objs.FcIgnoreHow.Iterate()
	for it.Next(&id, &gets) {
		out[SiteID(id)] = dpFcIgnoredGets(gets) == dpFcIgnoredGetsFC_IGNORED_ANSWERED
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list what ignored sources get: %w", err)
	}
	return out, nil
}

// IgnoredPackets returns what was counted for each site that was asked by such
// a source.
func (d Ignoring) IgnoredPackets() (map[SiteID]IgnoredPackets, error) {
	out := make(map[SiteID]IgnoredPackets)
	err := eachBatch(d.objs.FcIgnored, 1, func(id uint32, v []dpFcIgnoredPackets) {
		out[SiteID(id)] = IgnoredPackets{Awake: v[0].Awake, Asleep: v[0].Asleep}
	})
	if err != nil {
		return nil, fmt.Errorf("read the packets of ignored sources: %w", err)
	}
	return out, nil
}

// IgnoredPacketsOf returns that of one site.
func (d Ignoring) IgnoredPacketsOf(id SiteID) (IgnoredPackets, error) {
	var v dpFcIgnoredPackets
	if err := ignoreMissing(d.objs.FcIgnored.Lookup(uint32(id), &v)); err != nil {
		return IgnoredPackets{}, fmt.Errorf("read the packets of ignored sources of site %d: %w", id, err)
	}
	return IgnoredPackets{Awake: v.Awake, Asleep: v.Asleep}, nil
}

// DeleteIgnoredPackets begins to count anew, for a site that is gone.
func (d Ignoring) DeleteIgnoredPackets(id SiteID) error {
	if err := ignoreMissing(d.objs.FcIgnored.Delete(uint32(id))); err != nil {
		return fmt.Errorf("reset the count of packets of ignored sources of site %d: %w", id, err)
	}
	return nil
}

// AttachAnswer lets listeners (of plain TCP, not MPTCP) in a network namespace, the
// sink's, take what ignored sources begin at the VIPs while a site sleeps. They are let go with the link, with
// the listeners, and with this process: then such sources are refused.
func (d Ignoring) AttachAnswer(ns *os.File, listeners ...*net.TCPListener) (*link.NetNsLink, error) {
	for _, l := range listeners {
		if err := d.setAnswerer(l); err != nil {
			return nil, fmt.Errorf("let %s answer ignored sources: %w", l.Addr(), err)
		}
	}
	l, err := link.AttachNetNs(int(ns.Fd()), d.objs.FcAnswer)
	if err != nil {
		return nil, fmt.Errorf("attach the program that finds who answers ignored sources to network namespace %s: %w", ns.Name(), err)
	}
	return l, nil
}

func (d Ignoring) setAnswerer(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var putErr error
	err = raw.Control(func(fd uintptr) {
		var family int
		if family, putErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); putErr != nil {
			return
		}
		slot := uint32(0)
		if family == unix.AF_INET6 {
			slot = 1
		}
		putErr = d.objs.FcAnswerers.Update(slot, uint64(fd), ebpf.UpdateAny)
	})
	return errors.Join(err, putErr)
}
