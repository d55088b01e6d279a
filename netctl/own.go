package netctl

import (
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OwnConn is a TCP connection that a process of a namespace has opened to somebody
// outside of it.
type OwnConn struct {
	To       netip.AddrPort
	Up       bool          // else it is being made
	Sent     time.Duration // since the process last sent data
	Received time.Duration // since data last came
	Heard    time.Duration // since anything came, be it an acknowledgement
}

// OwnConns lists them. Those that visitors have opened are not among them, and
// neither are those that stay within the namespace.
func (n *Namespace) OwnConns() (out []OwnConn, err error) {
	err = n.ask("connections", func() error {
		var all []*netlink.InetDiagTCPInfoResp
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			some, err := netlink.SocketDiagTCPInfo(family)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		out = ownConns(all)
		return nil
	})
	return out, err
}

// ownConns finds them by their local port: nobody listens on it.
func ownConns(all []*netlink.InetDiagTCPInfoResp) (out []OwnConn) {
	listening := map[uint16]bool{}
	for _, s := range all {
		if s.InetDiagMsg.State == netlink.TCP_LISTEN {
			listening[s.InetDiagMsg.ID.SourcePort] = true
		}
	}
	for _, s := range all {
		state, id := s.InetDiagMsg.State, s.InetDiagMsg.ID
		if state != netlink.TCP_ESTABLISHED && state != netlink.TCP_SYN_SENT || listening[id.SourcePort] {
			continue
		}
		from, to := addrOf(id.Source), addrOf(id.Destination)
		if to.IsLoopback() || to == from {
			continue
		}
		c := OwnConn{To: netip.AddrPortFrom(to, id.DestinationPort), Up: state == netlink.TCP_ESTABLISHED}
		if t := s.TCPInfo; t != nil {
			c.Sent = time.Duration(t.Last_data_sent) * time.Millisecond
			c.Received = time.Duration(t.Last_data_recv) * time.Millisecond
			c.Heard = time.Duration(t.Last_ack_recv) * time.Millisecond
		}
		out = append(out, c)
	}
	return out
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip) // of 4 or 16 bytes, as the kernel has it
	return a.Unmap()
}
