package sites

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
)

// errNoAddress means that a prefix has no free address left.
var errNoAddress = errors.New("no free address left")

// addresses hands out the VIPs of one prefix. Used ones are bits, as there may
// be a hundred thousand; explicit ones far into a large prefix are kept apart.
type addresses struct {
	prefix netip.Prefix
	first  uint64 // lowest offset that is given out
	last   uint64 // and the highest
	bits   []uint64
	far    map[netip.Addr]struct{}
	next   uint64 // offset to look at first
}

// maxBits bounds the bit set; a larger prefix has room for as many sites.
const maxBits = 1 << 20

func newAddresses(p netip.Prefix) *addresses {
	a := &addresses{prefix: p, first: 1, far: map[netip.Addr]struct{}{}}
	hostBits := p.Addr().BitLen() - p.Bits()
	switch {
	case hostBits >= 62:
		a.last = maxBits - 1
	default:
		a.last = min(uint64(1)<<hostBits-1, maxBits-1)
	}
	// The first address is the network's (or the routers' anycast), the last of
	// an IPv4 prefix its broadcast address: neither is a visitor's business.
	if p.Addr().Is4() && hostBits > 1 && a.last == uint64(1)<<hostBits-1 {
		a.last--
	}
	if hostBits <= 1 {
		a.first = 0 // one address, or two of which both are hosts (RFC 3021, RFC 6164)
	}
	a.next = a.first
	return a
}

func (a *addresses) offset(addr netip.Addr) (uint64, bool) {
	base := new(big.Int).SetBytes(a.prefix.Masked().Addr().AsSlice())
	diff := new(big.Int).SetBytes(addr.AsSlice())
	diff.Sub(diff, base)
	if !diff.IsUint64() || diff.Uint64() > a.last {
		return 0, false
	}
	return diff.Uint64(), true
}

func (a *addresses) at(offset uint64) netip.Addr {
	b := a.prefix.Masked().Addr().AsSlice()
	for i := len(b) - 1; i >= 0 && offset > 0; i-- {
		sum := uint64(b[i]) + offset&0xff
		b[i] = byte(sum)
		offset = offset>>8 + sum>>8
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (a *addresses) contains(addr netip.Addr) bool { return a.prefix.Contains(addr) }

func (a *addresses) used(addr netip.Addr) bool {
	off, near := a.offset(addr)
	if !near {
		_, ok := a.far[addr]
		return ok
	}
	return off/64 < uint64(len(a.bits)) && a.bits[off/64]&(1<<(off%64)) != 0
}

// take marks an address as used; false: it was already.
func (a *addresses) take(addr netip.Addr) bool {
	if a.used(addr) {
		return false
	}
	off, near := a.offset(addr)
	if !near {
		a.far[addr] = struct{}{}
		return true
	}
	for uint64(len(a.bits)) <= off/64 {
		a.bits = append(a.bits, 0)
	}
	a.bits[off/64] |= 1 << (off % 64)
	return true
}

func (a *addresses) free(addr netip.Addr) {
	off, near := a.offset(addr)
	if !near {
		delete(a.far, addr)
		return
	}
	if off/64 < uint64(len(a.bits)) {
		a.bits[off/64] &^= 1 << (off % 64)
	}
}

// allocate takes the next free address. It goes round, so that a deleted
// site's address is not given to another at once.
func (a *addresses) allocate() (netip.Addr, error) {
	for range a.last - a.first + 1 {
		off := a.next
		a.next++
		if a.next > a.last {
			a.next = a.first
		}
		if addr := a.at(off); a.take(addr) {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("prefix %s: %w: delete sites or configure a larger prefix", a.prefix, errNoAddress)
}
