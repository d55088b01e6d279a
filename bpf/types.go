package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// SiteID names a site in the maps. The node allocates it and keeps it.
type SiteID uint32

// ReplicaID names one run of one container; never used twice in one boot.
type ReplicaID uint32

// Proto is an IP protocol number.
type Proto uint8

// The transport protocols that a site can be reached by.
const (
	TCP Proto = 6
	UDP Proto = 17
)

func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

// MaxReplicas is how many replicas one site can have in the data path,
// draining ones included.
const MaxReplicas = len(dpFcSite{}.Replicas)

// MaxPorts is how many ports one site can have: a bit each in a 32-bit mask.
const MaxPorts = 32

// Listener is what a visitor can name: one port of one VIP.
type Listener struct {
	Addr  netip.Addr
	Port  uint16
	Proto Proto
}

func (l Listener) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(l.Addr, l.Port), l.Proto)
}

func (l Listener) key() dpFcListenerKey {
	return dpFcListenerKey{Addr: toAddr(l.Addr), Port: swap16(l.Port), Proto: uint8(l.Proto)}
}

// ListenerSite says whose a Listener is, and which bit of the readiness masks
// is its port's.
type ListenerSite struct {
	Site    SiteID
	PortBit uint8
	// Range means: other ports share the bit, which says that somebody listens on one
	// of them; on which is for Listens to say.
	Range bool
}

func (s ListenerSite) raw() dpFcListener {
	v := dpFcListener{Site: uint32(s.Site), PortBit: uint32(s.PortBit)}
	if s.Range {
		v.PortBit |= portOfRange
	}
	return v
}

func (v dpFcListener) listenerSite() ListenerSite {
	return ListenerSite{Site: SiteID(v.Site), PortBit: uint8(v.PortBit % MaxPorts), Range: v.PortBit&portOfRange != 0}
}

const portOfRange = 64 // FC_PORT_OF_RANGE

// SiteReplica is one replica in a site's set.
type SiteReplica struct {
	ID       ReplicaID
	Draining bool   // gets no new flows
	Forced   uint32 // ports (bits) taken as ready though nobody listens
}

// Site is what the data path knows of a site that is not parked.
type Site struct {
	Refuse   bool // refuse new flows at once instead of holding them
	Sleeps   bool // all of its replicas do: whoever is held for it wakes it
	Replicas []SiteReplica
}

// Replica is what the data path must know before a replica's container starts.
type Replica struct {
	Site    SiteID
	Ifindex int    // host end of its veth
	NSID    int    // its network namespace as seen from the node's, or -1
	Cookie  uint64 // its network namespace's cookie
	VIP4    netip.Addr
	VIP6    netip.Addr
	Closed  bool // it gets no new flows before OpenReplica, whoever listens
	// Keepalive is after how long a client is found out that has gone without a
	// word, in whole seconds from 10 s; 0: not at all.
	Keepalive time.Duration
	// UDPIdle is after how long without a datagram, in either direction, a flow of UDP
	// that lasts is over, in whole seconds; 0: flows of UDP count for nothing.
	UDPIdle time.Duration
}

// ReplicaStats is what the programs have counted for a replica. Times are
// CLOCK_MONOTONIC in nanoseconds, 0 where the thing has not happened.
type ReplicaStats struct {
	Asleep         bool   // marked so, and nobody has knocked since
	Closed         bool   // no new flows, see Replica
	Ready4, Ready6 uint32 // bit per port somebody listens on
	ConnsTotal     uint64 // TCP connections accepted so far
	ConnsNow       uint64
	ConnsUsed      uint64 // of ConnsNow, those that have carried data
	Last           uint64 // last arrival: SYN, connection or datagram
	Used           uint64 // last datagram, first data of a connection, or end of one that had any
	Established    uint64 // first connection of this wake
	FirstByte      uint64 // first payload of the first answer
}

// swap16 turns a port into network byte order for a little-endian map field.
func swap16(p uint16) uint16 { return p<<8 | p>>8 }

// toAddr puts an address into its 16-byte form; IPv4 is mapped. The zero Addr
// becomes "::", which no packet has as its source.
func toAddr(a netip.Addr) dpFcAddr {
	var out dpFcAddr
	if !a.IsValid() {
		return out
	}
	b := a.As16()
	for i := range out.W {
		out.W[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// mapped is the word of a mapped IPv4 address before its own.
const mapped = 0xffff0000 // of little-endian machines, as the objects are

func fromAddr(a dpFcAddr) netip.Addr {
	var b [16]byte
	for i, w := range a.W {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}
