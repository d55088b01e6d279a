package life

import (
	"errors"
	"net/netip"

	"github.com/fcnode/fcnode/bpf"
)

// KernelData is the real data path, which also tells the network on which UDP ports
// sites answer: a datagram from there is no connection that a replica began, and keeps
// its address (netctl.Egress).
type KernelData struct {
	*bpf.Datapath
	change func(add, remove []netip.AddrPort) error
}

// NewKernelData tells the network of the listeners of an earlier daemon.
func NewKernelData(dp *bpf.Datapath, change func(add, remove []netip.AddrPort) error) (KernelData, error) {
	ls, err := dp.Listeners()
	if err != nil {
		return KernelData{}, err
	}
	var add []netip.AddrPort
	for l := range ls {
		add = appendUDP(add, l)
	}
	return KernelData{dp, change}, change(add, nil)
}

// PutListeners implements DataPath.
func (d KernelData) PutListeners(ls map[bpf.Listener]bpf.ListenerSite) error {
	var add []netip.AddrPort
	for l := range ls {
		add = appendUDP(add, l)
	}
	return errors.Join(d.change(add, nil), d.Datapath.PutListeners(ls))
}

// DeleteListeners implements DataPath.
func (d KernelData) DeleteListeners(ls ...bpf.Listener) error {
	var remove []netip.AddrPort
	for _, l := range ls {
		remove = appendUDP(remove, l)
	}
	return errors.Join(d.Datapath.DeleteListeners(ls...), d.change(nil, remove))
}

func appendUDP(to []netip.AddrPort, l bpf.Listener) []netip.AddrPort {
	if l.Proto != bpf.UDP {
		return to
	}
	return append(to, netip.AddrPortFrom(l.Addr, l.Port))
}
