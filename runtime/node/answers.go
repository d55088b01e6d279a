package node

import (
	"errors"
	"net/netip"

	"github.com/fcnode/fcnode/bpf"
)

// answering is the data path, which also tells the network on which UDP ports sites answer: a datagram from there
// is no connection that a replica began, and keeps its address (netctl.Egress).
type answering struct {
	*bpf.Datapath
	change func(add, remove []netip.AddrPort) error
}

// PutListeners implements life.DataPath.
func (a answering) PutListeners(ls map[bpf.Listener]bpf.ListenerSite) error {
	var add []netip.AddrPort
	for l := range ls {
		add = appendUDP(add, l)
	}
	return errors.Join(a.change(add, nil), a.Datapath.PutListeners(ls))
}

// DeleteListeners implements life.DataPath.
func (a answering) DeleteListeners(ls ...bpf.Listener) error {
	var remove []netip.AddrPort
	for _, l := range ls {
		remove = appendUDP(remove, l)
	}
	return errors.Join(a.Datapath.DeleteListeners(ls...), a.change(nil, remove))
}

// recall tells of the listeners of an earlier daemon.
func (a answering) recall() error {
	ls, err := a.Listeners()
	if err != nil {
		return err
	}
	var add []netip.AddrPort
	for l := range ls {
		add = appendUDP(add, l)
	}
	return a.change(add, nil)
}

func appendUDP(to []netip.AddrPort, l bpf.Listener) []netip.AddrPort {
	if l.Proto != bpf.UDP {
		return to
	}
	return append(to, netip.AddrPortFrom(l.Addr, l.Port))
}
