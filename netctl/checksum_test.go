package netctl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// segment is a transport packet to be made for a test.
type segment struct {
	src, dst string
	proto    uint8
	payload  string
	options  []byte // IPv4 options, whole words
	frag     uint16 // IPv4 flags and fragment offset
	headers  []byte // IPv6 extension headers, the last one's next header already set
	first    uint8  // IPv6: next header of the fixed header, if there are extension headers
	padding  int    // bytes behind the packet, as short Ethernet frames have
}

// packet makes the IP packet, and says where its transport part starts.
func (s segment) packet() (p []byte, transport int) {
	src, dst := netip.MustParseAddr(s.src), netip.MustParseAddr(s.dst)
	header := udpHeader
	if s.proto == unix.IPPROTO_TCP {
		header = tcpHeader
	}
	body := make([]byte, header, header+len(s.payload))
	binary.BigEndian.PutUint16(body[0:], 40000)
	binary.BigEndian.PutUint16(body[2:], 80)
	if s.proto == unix.IPPROTO_TCP {
		binary.BigEndian.PutUint32(body[4:], 0xdeadbeef)
		body[12], body[13] = 5<<4, 2 // SYN
	} else {
		binary.BigEndian.PutUint16(body[4:], uint16(header+len(s.payload)))
	}
	body = append(body, s.payload...)

	if src.Is4() {
		p = make([]byte, ipv4Header, 64)
		p[0] = 4<<4 | uint8((ipv4Header+len(s.options))/4)
		binary.BigEndian.PutUint16(p[2:], uint16(ipv4Header+len(s.options)+len(body)))
		binary.BigEndian.PutUint16(p[6:], s.frag)
		p[8], p[9] = 64, s.proto
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
		p = append(p, s.options...)
	} else {
		p = make([]byte, ipv6Header, 128)
		p[0] = 6 << 4
		binary.BigEndian.PutUint16(p[4:], uint16(len(s.headers)+len(body)))
		p[6], p[7] = s.proto, 64
		if s.headers != nil {
			p[6] = s.first
		}
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
		p = append(p, s.headers...)
	}
	transport = len(p)
	return append(append(p, body...), bytes.Repeat([]byte{0xee}, s.padding)...), transport
}

// reference is RFC 1071 as its text says it: one's complement addition, word by
// word, over the pseudo header and then the data. Without data it is the sum of
// the pseudo header alone.
func reference(src, dst netip.Addr, proto uint8, length int, data []byte) uint16 {
	var all []byte
	all = append(append(all, src.AsSlice()...), dst.AsSlice()...)
	all = binary.BigEndian.AppendUint32(all, uint32(length))
	all = append(append(all, 0, 0, 0, proto), data...)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	var s uint16
	for i := 0; i < len(all); i += 2 {
		w := binary.BigEndian.Uint16(all[i:])
		s += w
		if s < w {
			s++
		}
	}
	return s
}

var (
	tcp4 = segment{src: "192.0.2.1", dst: "10.77.0.9", proto: unix.IPPROTO_TCP}
	udp4 = segment{src: "192.0.2.1", dst: "10.77.0.9", proto: unix.IPPROTO_UDP, payload: "question"}
	tcp6 = segment{src: "2001:db8::1", dst: "fd77:fc::9", proto: unix.IPPROTO_TCP}
	udp6 = segment{src: "2001:db8::1", dst: "fd77:fc::9", proto: unix.IPPROTO_UDP, payload: "odd"}
)

func (s segment) with(change func(*segment)) segment {
	change(&s)
	return s
}

// partial makes the packet as a local sender leaves it, and the complete one.
func (s segment) partial() (left, complete []byte) {
	left, at := s.packet()
	src, dst := netip.MustParseAddr(s.src), netip.MustParseAddr(s.dst)
	end := len(left) - s.padding
	field := at + udpChecksum
	if s.proto == unix.IPPROTO_TCP {
		field = at + tcpChecksum
	}
	complete = bytes.Clone(left)
	full := ^reference(src, dst, s.proto, end-at, complete[at:end])
	if full == 0 && s.proto == unix.IPPROTO_UDP {
		full = 0xffff
	}
	binary.BigEndian.PutUint16(complete[field:], full)
	binary.BigEndian.PutUint16(left[field:], reference(src, dst, s.proto, end-at, nil))
	return left, complete
}

func extension(next uint8, units int) []byte {
	h := make([]byte, 8+8*units)
	h[0], h[1] = next, uint8(units)
	return h
}

func TestRepairChecksumCompletes(t *testing.T) {
	routing := extension(unix.IPPROTO_TCP, 2)
	for name, s := range map[string]segment{
		"TCP over IPv4":             tcp4,
		"UDP over IPv4":             udp4,
		"TCP over IPv6":             tcp6,
		"UDP over IPv6, odd length": udp6,
		"TCP with data":             tcp4.with(func(s *segment) { s.payload = "GET / HTTP/1.1\r\n" }),
		"a padded short frame":      tcp4.with(func(s *segment) { s.padding = 6 }),
		"a padded short IPv6 frame": udp6.with(func(s *segment) { s.padding = 3 }),
		"IPv4 options":              tcp4.with(func(s *segment) { s.options = []byte{1, 148, 4, 0, 0, 0, 0, 0} }),
		"don't fragment":            tcp4.with(func(s *segment) { s.frag = 0x4000 }),
		"hop-by-hop options":        tcp6.with(func(s *segment) { s.first, s.headers = 0, extension(unix.IPPROTO_TCP, 0) }),
		"destination options":       udp6.with(func(s *segment) { s.first, s.headers = 60, extension(unix.IPPROTO_UDP, 3) }),
		"a routing header all used": tcp6.with(func(s *segment) { s.first, s.headers = 43, routing }),
		"an atomic fragment":        tcp6.with(func(s *segment) { s.first, s.headers = 44, extension(unix.IPPROTO_TCP, 0) }),
		"two extension headers": tcp6.with(func(s *segment) {
			s.first, s.headers = 0, append(extension(60, 1), extension(unix.IPPROTO_TCP, 0)...)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			p, want := s.partial()
			if !RepairChecksum(p) {
				t.Error("says that nothing was to be done")
			}
			if !bytes.Equal(p, want) {
				t.Errorf("got\n%x, want\n%x", p, want)
			}
			if before := bytes.Clone(p); RepairChecksum(p) && !bytes.Equal(p, before) {
				t.Error("a second repair changes it again")
			}
		})
	}
}

// The sum of a UDP packet may come out as 0, which would mean "none".
func TestRepairChecksumOfUDPIsNeverZero(t *testing.T) {
	s := udp4.with(func(s *segment) { s.payload = "xx" })
	p, at := s.packet()
	src, dst := netip.MustParseAddr(s.src), netip.MustParseAddr(s.dst)
	// A word that makes the sum of all 0xffff, so that its complement is 0.
	copy(p[at+udpHeader:], []byte{0, 0})
	rest := reference(src, dst, s.proto, len(p)-at, p[at:])
	binary.BigEndian.PutUint16(p[at+udpHeader:], ^rest)
	binary.BigEndian.PutUint16(p[at+udpChecksum:], reference(src, dst, s.proto, len(p)-at, nil))
	if !RepairChecksum(p) {
		t.Fatal("says that nothing was to be done")
	}
	if got := binary.BigEndian.Uint16(p[at+udpChecksum:]); got != 0xffff {
		t.Errorf("got checksum %#04x, want 0xffff", got)
	}
}

func TestRepairChecksumLeavesAlone(t *testing.T) {
	partial := func(s segment) []byte { p, _ := s.partial(); return p }
	complete := func(s segment) []byte { _, p := s.partial(); return p }
	truncated := partial(tcp4)
	noSum := partial(udp4)
	binary.BigEndian.PutUint16(noSum[ipv4Header+udpChecksum:], 0)
	longUDP := partial(udp4)
	binary.BigEndian.PutUint16(longUDP[ipv4Header+4:], 2000)
	shortUDP := partial(udp4)
	binary.BigEndian.PutUint16(shortUDP[ipv4Header+4:], 7)
	corrupt := complete(tcp4)
	corrupt[ipv4Header+tcpChecksum] ^= 0x40
	left := extension(unix.IPPROTO_TCP, 2)
	left[3] = 1
	firstFragment := extension(unix.IPPROTO_TCP, 0)
	firstFragment[3] = 1 // more to come
	for name, p := range map[string][]byte{
		"nothing":                    nil,
		"a complete TCP checksum":    complete(tcp4),
		"a complete UDP checksum":    complete(udp4),
		"a complete IPv6 checksum":   complete(tcp6),
		"a wrong checksum":           corrupt,
		"UDP without checksum":       noSum,
		"a first IPv4 fragment":      partial(tcp4.with(func(s *segment) { s.frag = 0x2000 })),
		"a later IPv4 fragment":      partial(tcp4.with(func(s *segment) { s.frag = 185 })),
		"a loose source route":       partial(tcp4.with(func(s *segment) { s.options = []byte{131, 7, 4, 1, 2, 3, 4, 0} })),
		"malformed IPv4 options":     partial(tcp4.with(func(s *segment) { s.options = []byte{7, 200, 0, 0} })),
		"a first IPv6 fragment":      partial(tcp6.with(func(s *segment) { s.first, s.headers = 44, firstFragment })),
		"a routing header in use":    partial(tcp6.with(func(s *segment) { s.first, s.headers = 43, left })),
		"encrypted payload":          partial(tcp6.with(func(s *segment) { s.first, s.headers = 50, extension(unix.IPPROTO_TCP, 0) })),
		"no next header":             partial(tcp6.with(func(s *segment) { s.first, s.headers = 59, extension(unix.IPPROTO_TCP, 0) })),
		"an extension beyond end":    partial(tcp6.with(func(s *segment) { s.first, s.headers = 0, []byte{6, 200, 0, 0, 0, 0, 0, 0} })),
		"a truncated packet":         truncated[:len(truncated)-1],
		"a truncated header":         truncated[:12],
		"UDP longer than the packet": longUDP,
		"UDP shorter than its head":  shortUDP,
		"another IP version":         {0x50, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(p)
			if RepairChecksum(p) || !bytes.Equal(p, before) {
				t.Errorf("changed\n%x to\n%x", before, p)
			}
		})
	}
}

func frame(etherType uint16, packet []byte) []byte {
	f := make([]byte, etherHeader, etherHeader+len(packet))
	copy(f, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	binary.BigEndian.PutUint16(f[12:], etherType)
	return append(f, packet...)
}

func TestPrepareFrame(t *testing.T) {
	left, complete := tcp6.partial()
	f := frame(unix.ETH_P_IPV6, left)
	proto, err := prepareFrame(f)
	if err != nil || proto != unix.ETH_P_IPV6 {
		t.Fatalf("got %#x, %v; want %#x", proto, err, unix.ETH_P_IPV6)
	}
	if !bytes.Equal(f[:6], hwAddr) || !bytes.Equal(f[6:12], hwAddr) {
		t.Errorf("hardware addresses %x: want fcnode's own twice", f[:12])
	}
	if !bytes.Equal(f[etherHeader:], complete) {
		t.Error("the checksum was not completed")
	}
	for name, f := range map[string][]byte{
		"empty":                 {},
		"only a header":         frame(unix.ETH_P_IP, nil),
		"ARP":                   frame(unix.ETH_P_ARP, make([]byte, 28)),
		"IPv6 called IPv4":      frame(unix.ETH_P_IP, left),
		"a truncated packet":    frame(unix.ETH_P_IPV6, left[:len(left)-1]),
		"a VLAN's inner packet": frame(unix.ETH_P_8021Q, append([]byte{0, 1, 0x86, 0xdd}, left...)),
	} {
		if _, err := prepareFrame(f); !errors.Is(err, ErrNotAFrame) {
			t.Errorf("%s: error %v, want ErrNotAFrame", name, err)
		}
	}
}

// Whatever comes in: no panic, at most the two bytes of one checksum change,
// and then it is right.
func FuzzRepairChecksum(f *testing.F) {
	for _, s := range []segment{tcp4, udp4, tcp6, udp6, tcp6.with(func(s *segment) { s.first, s.headers = 0, extension(6, 0) })} {
		left, complete := s.partial()
		f.Add(left)
		f.Add(complete)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		changed := RepairChecksum(p)
		differ := 0
		for i := range p {
			if p[i] != before[i] {
				differ++
			}
		}
		if differ > 2 || differ > 0 && !changed {
			t.Fatalf("%d bytes differ, changed is %v", differ, changed)
		}
		if !changed {
			return
		}
		addresses, payload, proto, ok := transport4(p)
		if p[0]>>4 == 6 {
			addresses, payload, proto, ok = transport6(p)
		}
		if !ok {
			t.Fatal("changed what is not to be touched")
		}
		if proto == unix.IPPROTO_UDP {
			payload = payload[:binary.BigEndian.Uint16(payload[4:])]
		}
		half := len(addresses) / 2
		src, _ := netip.AddrFromSlice(addresses[:half])
		dst, _ := netip.AddrFromSlice(addresses[half:])
		if s := reference(src, dst, proto, len(payload), payload); s != 0xffff {
			t.Fatalf("the repaired packet adds up to %#04x, want 0xffff", s)
		}
		again := bytes.Clone(p)
		RepairChecksum(again)
		if !bytes.Equal(again, p) {
			t.Fatal("a second repair changes it again")
		}
	})
}
