package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Denials are the sources that are denied.
type Denials struct{ objs *dpObjects }

// SetDenied denies a prefix of sources, or changes until when (CLOCK_MONOTONIC,
// 0: for good). Of prefixes that cover each other the longest decides alone.
func (d Denials) SetDenied(p netip.Prefix, until uint64) error {
	m, key := d.denied(p)
	if err := m.Put(key, dpFcDenied{Until: until}); err != nil {
		return fmt.Errorf("deny %s in the data path (room for %d prefixes of its family): %w", p, m.MaxEntries(), err)
	}
	return nil
}

// DeleteDenied lets a prefix in again; one that is not denied is no error.
func (d Denials) DeleteDenied(p netip.Prefix) error {
	m, key := d.denied(p)
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("let %s in again: %w", p, err)
	}
	return nil
}

// Denied returns the prefixes that are denied, and until when.
func (d Denials) Denied() (map[netip.Prefix]uint64, error) {
	out := make(map[netip.Prefix]uint64)
	var v dpFcDenied
	var k4 dpFcDenyKey4
	it := d.objs.FcDeny4.Iterate()
	for it.Next(&k4, &v) {
		out[netip.PrefixFrom(fromAddr(dpFcAddr{W: [4]uint32{2: mapped, 3: k4.Addr}}), int(k4.Prefixlen))] = v.Until
	}
	err := it.Err()
	var k6 dpFcDenyKey6
	it = d.objs.FcDeny6.Iterate()
	for it.Next(&k6, &v) {
		out[netip.PrefixFrom(fromAddr(k6.Addr), int(k6.Prefixlen))] = v.Until
	}
	if err := errors.Join(err, it.Err()); err != nil {
		return nil, fmt.Errorf("list what the data path denies: %w", err)
	}
	return out, nil
}

// denied is where a prefix is kept.
func (d Denials) denied(p netip.Prefix) (*ebpf.Map, any) {
	addr := toAddr(p.Masked().Addr())
	if p.Addr().Is4() {
		return d.objs.FcDeny4, dpFcDenyKey4{Prefixlen: uint32(p.Bits()), Addr: addr.W[3]}
	}
	return d.objs.FcDeny6, dpFcDenyKey6{Prefixlen: uint32(p.Bits()), Addr: addr}
}
