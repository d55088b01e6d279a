package bpf

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Packets made by hand, with the parts that the programs look at. Checksums are
// zero: the programs do not look at them.

type tcpFlags uint8

const (
	fin tcpFlags = 1 << iota
	syn
	rst
	psh
	ack
)

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

type packet struct {
	src, dst netip.AddrPort
	proto    Proto
	flags    tcpFlags
	seq      uint32
	acked    uint32
	payload  []byte

	options []byte // IPv4 options, a multiple of 4 bytes
	ext     []byte // IPv6 extension headers; their first kind is extKind
	extKind byte
	frag    uint16 // IPv4: the field as it is; IPv6: a fragment header if fragID is set
	fragID  uint32
	icmp    byte // type
}

func tcpPacket(src, dst string, flags tcpFlags, payload ...string) packet {
	return packet{
		src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst),
		proto: TCP, flags: flags, seq: 1000, payload: joined(payload),
	}
}

func udpPacket(src, dst string, payload ...string) packet {
	return packet{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: UDP, payload: joined(payload)}
}

// reply is a packet the other way.
func (p packet) reply(flags tcpFlags, payload ...string) packet {
	return packet{src: p.dst, dst: p.src, proto: p.proto, flags: flags, payload: joined(payload)}
}

func (p packet) with(change func(*packet)) packet {
	change(&p)
	return p
}

// l4 is the transport header and the payload; nothing but the payload in a
// fragment that is not the first.
func (p packet) l4() []byte {
	be := binary.BigEndian
	var b []byte
	switch {
	case p.frag&0x1fff != 0:
	case p.proto == TCP:
		b = be.AppendUint16(b, p.src.Port())
		b = be.AppendUint16(b, p.dst.Port())
		b = be.AppendUint32(b, p.seq)
		b = be.AppendUint32(b, p.acked)
		b = append(b, 5<<4, byte(p.flags), 0xff, 0xff, 0, 0, 0, 0)
	case p.proto == UDP:
		b = be.AppendUint16(b, p.src.Port())
		b = be.AppendUint16(b, p.dst.Port())
		b = be.AppendUint16(b, uint16(8+len(p.payload)))
		b = append(b, 0, 0)
	default:
		b = append(b, p.icmp, 0, 0, 0, 0, 0, 0, 0)
	}
	return append(b, p.payload...)
}

// ip is the packet without Ethernet.
func (p packet) ip() []byte {
	be := binary.BigEndian
	l4 := p.l4()
	if p.src.Addr().Is4() {
		src, dst := p.src.Addr().As4(), p.dst.Addr().As4()
		b := []byte{0x45 + byte(len(p.options)/4), 0}
		b = be.AppendUint16(b, uint16(20+len(p.options)+len(l4)))
		b = be.AppendUint16(b, uint16(p.fragID))
		b = be.AppendUint16(b, p.frag)
		b = append(b, 64, byte(p.proto), 0, 0)
		b = append(append(b, src[:]...), dst[:]...)
		return append(append(b, p.options...), l4...)
	}
	src, dst := p.src.Addr().As16(), p.dst.Addr().As16()
	ext, next := p.ext, byte(p.proto)
	if p.fragID != 0 {
		f := be.AppendUint16([]byte{byte(p.proto), 0}, (p.frag&0x1fff)<<3|p.frag>>13&1)
		ext = append(be.AppendUint32(f, p.fragID), ext...)
		next = 44
	} else if len(ext) > 0 {
		next = p.extKind
	}
	b := []byte{0x60, 0, 0, 0}
	b = be.AppendUint16(b, uint16(len(ext)+len(l4)))
	b = append(b, next, 64)
	b = append(append(b, src[:]...), dst[:]...)
	return append(append(b, ext...), l4...)
}

var frameMAC = []byte{2, 0xfc, 0, 0, 0, 1}

// frame is the packet with Ethernet.
func (p packet) frame() []byte {
	b := append(append([]byte(nil), frameMAC...), frameMAC...)
	if p.src.Addr().Is4() {
		b = append(b, 0x08, 0x00)
	} else {
		b = append(b, 0x86, 0xdd)
	}
	return append(b, p.ip()...)
}

// icmpError is an error about a packet, sent by a router (or its client).
func icmpError(from string, about packet, kind byte) packet {
	head := about.ip()
	head = head[:min(len(head), 20+len(about.options)+40+8)]
	p := packet{
		src: netip.AddrPortFrom(netip.MustParseAddr(from), 0), dst: netip.AddrPortFrom(about.src.Addr(), 0),
		proto: protoICMP, icmp: kind, payload: head,
	}
	if about.src.Addr().Is6() {
		p.proto = protoICMPv6
	}
	return p
}

func joined(payload []string) []byte { return []byte(strings.Join(payload, "")) }
