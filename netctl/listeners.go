package netctl

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxListeners is how many listeners are named to people.
const maxListeners = 16

// Listeners names, for people, on what the processes of the namespace listen:
// 0.0.0.0:8080, [::1]:9000, udp 0.0.0.0:53.
func (n *Namespace) Listeners() (out []string, err error) {
	err = n.ask("listeners", func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			tcp, err := netlink.SocketDiagTCP(family)
			if err != nil {
				return err
			}
			udp, err := netlink.SocketDiagUDP(family)
			if err != nil {
				return err
			}
			out = append(out, listening(tcp, netlink.TCP_LISTEN, "")...)
			out = append(out, listening(udp, netlink.TCP_CLOSE, "udp ")...) // bound, to no peer
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(out)
	out = slices.Compact(out) // SO_REUSEPORT
	if more := len(out) - maxListeners; more > 0 {
		out = append(out[:maxListeners], fmt.Sprintf("and %d more", more))
	}
	return out, nil
}

// ask calls f, which lists sockets, on a thread inside of the namespace.
func (n *Namespace) ask(what string, f func() error) error {
	ns, err := n.own()
	if err == nil {
		defer ns.Close()
		err = thread.InNetns(ns, f)
	}
	if err != nil {
		return fmt.Errorf("list the %s of the namespace behind %s: %w", what, n.name, err)
	}
	return nil
}

func listening(sockets []*netlink.Socket, state uint8, prefix string) (out []string) {
	for _, s := range sockets {
		if s.State == state {
			out = append(out, prefix+net.JoinHostPort(s.ID.Source.String(), strconv.Itoa(int(s.ID.SourcePort))))
		}
	}
	return out
}
