package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// read is what a packet says, as the documents have it: RFC 791, 768, 9293 and 792, 8200 and 4443. It is written
// without a look at the program that is compared with it.
type read struct {
	src, dst     netip.Addr
	sport, dport uint16
	proto        Proto
	flags        tcpFlags
	later        bool // a fragment, and not the first
	first        bool // a fragment, and the first
	icmp         byte // type
}

type reading uint8

const (
	notIP reading = iota
	malformed
	readable
)

// readFrame is the model of fc_parse: an Ethernet frame without tags.
func readFrame(frame []byte) (p read, is reading) {
	packet := frame[14:]
	var ok bool
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		packet, ok = p.readIPv4(packet)
	case 0x86dd:
		packet, ok = p.readIPv6(packet)
	default:
		return p, notIP
	}
	if !ok || !p.later && !p.readTransport(packet) {
		return p, malformed
	}
	return p, readable
}

func (p *read) readIPv4(b []byte) (rest []byte, ok bool) {
	if len(b) < 20 {
		return nil, false
	}
	header := int(b[0]&0xf) * 4
	if header < 20 {
		return nil, false
	}
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.proto = Proto(b[9])
	fragment := binary.BigEndian.Uint16(b[6:])
	p.later = fragment&0x1fff != 0
	p.first = !p.later && fragment&0x2000 != 0
	return b[min(header, len(b)):], true
}

// Headers that stand between an IPv6 header and what it carries, and how many of them are walked.
const (
	hopByHop, routing, fragmentation, authentication, destination = 0, 43, 44, 51, 60

	walked = 6
)

func (p *read) readIPv6(b []byte) (rest []byte, ok bool) {
	if len(b) < 40 {
		return nil, false
	}
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	if p.src.Is4In6() || p.dst.Is4In6() {
		return nil, false // never on a wire (RFC 4291, 2.5.5.2, and draft-itojun-v6ops-v4mapped-harmful)
	}
	p.proto, b = Proto(b[6]), b[40:]
	for range walked {
		var size int
		switch p.proto {
		case hopByHop, routing, destination:
			if len(b) < 2 {
				return nil, false
			}
			size = 8 + 8*int(b[1])
		case authentication:
			if len(b) < 2 {
				return nil, false
			}
			size = 8 + 4*int(b[1])
		case fragmentation:
			if len(b) < 8 {
				return nil, false
			}
			size = 8
			offset := binary.BigEndian.Uint16(b[2:])
			if p.later = offset&0xfff8 != 0; p.later {
				p.proto = Proto(b[0])
				return nil, true
			}
			p.first = p.first || offset&1 != 0
		default:
			return b, true
		}
		p.proto, b = Proto(b[0]), b[min(size, len(b)):]
	}
	return nil, false
}

func (p *read) readTransport(b []byte) (ok bool) {
	switch p.proto {
	case TCP:
		if len(b) < 20 {
			return false
		}
		p.flags = tcpFlags(b[13])
	case UDP:
		if len(b) < 4 { // its ports: how long it is, and its checksum, are for whoever gets it
			return false
		}
	case protoICMP, protoICMPv6:
		if len(b) < 6 {
			return false
		}
		p.icmp = b[0]
		return true
	default:
		return true
	}
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return true
}

// isError says whether it is an ICMP error, which is about another packet.
func (p *read) isError() bool {
	if p.proto == protoICMP {
		return slices.Contains([]byte{3, 11, 12}, p.icmp)
	}
	return p.icmp >= 1 && p.icmp <= 4
}

// Where a packet ends that fc0 gets.
const (
	eaten   = "eaten"
	held    = "held"
	notHeld = "not held"
	refused = "sink"
	steers  = "steered"
)

// fate is the model of fc_device, for a packet of a flow that nobody knows: asleep are the addresses of a parked site,
// awake those of one with a replica that takes everything, with TCP 80 and 443 and UDP 53 each.
func fate(frame []byte, asleep, awake []netip.Addr) (end string, bad bool) {
	p, is := readFrame(frame)
	if is != readable {
		return eaten, is == malformed
	}
	switch {
	case p.later: // whose first part nobody has seen
		return eaten, false
	case p.proto == protoICMP || p.proto == protoICMPv6:
		if p.isError() { // about nobody's flow
			return eaten, false
		}
		return refused, false
	}
	ours := p.proto == TCP && (p.dport == 80 || p.dport == 443) || p.proto == UDP && p.dport == 53
	opens := p.proto == UDP || p.flags&(syn|ack|rst|fin) == syn
	switch {
	case !ours || !opens:
		return refused, false
	case slices.Contains(awake, p.dst):
		return steers, false
	case !slices.Contains(asleep, p.dst):
		return refused, false
	case p.first || len(frame) > heldMost:
		return notHeld, false
	}
	return held, false
}

const heldMost = 2048
