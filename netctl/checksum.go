package netctl

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	etherHeader = 14
	ipv4Header  = 20
	ipv6Header  = 40
	tcpHeader   = 20
	udpHeader   = 8

	tcpChecksum = 16 // offset of the field
	udpChecksum = 6
)

// RepairChecksum completes the TCP or UDP checksum of an IP packet that was
// captured before hardware (or nobody, on its way inside of one machine) did,
// and tells whether it has changed the packet.
//
// A local sender leaves the sum of the pseudo header, folded but not
// complemented, in the field (CHECKSUM_PARTIAL; Documentation/networking/
// checksum-offloads.rst). A raw socket has no way to say so again, so the
// packet would go out as it is and be dropped by its receiver. A complete
// checksum that happens to equal that sum (1 of 65535) is computed again, to
// the same value.
//
// Fragments are left alone, as their checksum is of the whole datagram; so are
// packets with source routes ahead of them, whose pseudo header is that of the
// last hop, with encrypted payload, or malformed.
func RepairChecksum(packet []byte) bool {
	if len(packet) == 0 {
		return false
	}
	var addresses, payload []byte
	var proto uint8
	var ok bool
	switch packet[0] >> 4 {
	case 4:
		addresses, payload, proto, ok = transport4(packet)
	case 6:
		addresses, payload, proto, ok = transport6(packet)
	}
	if !ok {
		return false
	}
	var field int
	switch {
	case proto == unix.IPPROTO_TCP && len(payload) >= tcpHeader:
		field = tcpChecksum
	case proto == unix.IPPROTO_UDP && len(payload) >= udpHeader:
		field = udpChecksum
		length := int(binary.BigEndian.Uint16(payload[4:]))
		if length < udpHeader || length > len(payload) {
			return false
		}
		payload = payload[:length]
		if binary.BigEndian.Uint16(payload[field:]) == 0 {
			return false // the sender wants none
		}
	default:
		return false
	}
	pseudo := sum(addresses) + uint64(proto) + uint64(len(payload))
	if binary.BigEndian.Uint16(payload[field:]) != fold(pseudo) {
		return false
	}
	// The sum of the payload has the pseudo header's in it: it stands in the
	// field.
	full := ^fold(sum(payload))
	if full == 0 && proto == unix.IPPROTO_UDP {
		full = 0xffff // RFC 768: 0 means none
	}
	binary.BigEndian.PutUint16(payload[field:], full)
	return true
}

// transport4 returns the part of an IPv4 packet that its transport checksum is
// of; ok is false for what is not to be touched.
func transport4(p []byte) (addresses, payload []byte, proto uint8, ok bool) {
	if !whole4(p) {
		return nil, nil, 0, false
	}
	header := int(p[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(p[2:]))
	const moreFragmentsOrOffset = 0x3fff
	if binary.BigEndian.Uint16(p[6:])&moreFragmentsOrOffset != 0 || sourceRouted4(p[ipv4Header:header]) {
		return nil, nil, 0, false
	}
	return p[12:20], p[header:total], p[9], true
}

// whole4 tells whether p starts with a whole IPv4 packet.
func whole4(p []byte) bool {
	if len(p) < ipv4Header || p[0]>>4 != 4 {
		return false
	}
	header := int(p[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(p[2:]))
	return header >= ipv4Header && total >= header && total <= len(p)
}

// sourceRouted4 looks for a loose or strict source route among the options.
func sourceRouted4(options []byte) bool {
	const end, nop, loose, strict = 0, 1, 131, 137
	for len(options) > 0 {
		switch options[0] {
		case end:
			return false
		case nop:
			options = options[1:]
			continue
		case loose, strict:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return true // malformed: nothing is known of it
		}
		options = options[options[1]:]
	}
	return false
}

// whole6 tells whether p starts with a whole IPv6 packet. Jumbograms are none:
// they are larger than anything that is held.
func whole6(p []byte) bool {
	return len(p) >= ipv6Header && p[0]>>4 == 6 && ipv6Header+int(binary.BigEndian.Uint16(p[4:])) <= len(p)
}

// transport6 is transport4 for IPv6: it walks the extension headers.
func transport6(p []byte) (addresses, payload []byte, proto uint8, ok bool) {
	if !whole6(p) {
		return nil, nil, 0, false
	}
	addresses = p[8:40]
	payload = p[ipv6Header : ipv6Header+int(binary.BigEndian.Uint16(p[4:]))]
	proto = p[6]
	for {
		var length int
		switch proto {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS, unix.IPPROTO_ROUTING:
			if len(payload) < 8 {
				return nil, nil, 0, false
			}
			const segmentsLeft = 3
			if proto == unix.IPPROTO_ROUTING && payload[segmentsLeft] != 0 {
				return nil, nil, 0, false
			}
			length = 8 + 8*int(payload[1])
		case unix.IPPROTO_FRAGMENT:
			const offsetOrMore = 0xfff9
			if len(payload) < 8 || binary.BigEndian.Uint16(payload[2:])&offsetOrMore != 0 {
				return nil, nil, 0, false
			}
			length = 8 // an "atomic" fragment, RFC 6946: the whole datagram
		default:
			return addresses, payload, proto, true
		}
		if len(payload) < length {
			return nil, nil, 0, false
		}
		proto, payload = payload[0], payload[length:]
	}
}

// sum adds up 16-bit words in network order (RFC 1071); an odd last byte is
// padded by a zero.
func sum(b []byte) (s uint64) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
