package network

import (
	"errors"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

// MeteringKernel is the data path's side of what sites may send.
type MeteringKernel interface {
	SetAllowance(site bpf.SiteID, a bpf.Allowance) error
	DeleteAllowance(site bpf.SiteID) error
	Allowances() (map[bpf.SiteID]bpf.Allowance, error)
}

// metered is what the data path is told of what sites may send into the Internet.
type metered struct {
	kernel MeteringKernel
	node   spec.NetworkRate

	have  map[bpf.SiteID]bpf.Allowance // of sites, their own or, as found at the start, copies of the node's
	there map[bpf.SiteID]bool          // sites, which may have such copies
}

// openMetered makes the node's what the configuration says. Copies of an earlier one go
// with the first change.
func openMetered(k MeteringKernel, node spec.NetworkRate) (m metered, err error) {
	m = metered{kernel: k, node: node, there: map[bpf.SiteID]bool{}}
	all := allowance(node)
	if err := k.SetAllowance(0, all); err != nil { // first: what is copied from here on is of this one
		return m, err
	}
	if m.have, err = k.Allowances(); err != nil {
		return m, err
	}
	delete(m.have, 0)
	for id, is := range m.have {
		if is == all {
			delete(m.have, id) // a copy, which may stay
			m.there[id] = true
		}
	}
	return m, nil
}

// become gives each site what its spec says, or else the node's. What cannot be
// set is tried again with the next change.
func (m *metered) become(sites map[string]Site) error {
	want, there := map[bpf.SiteID]bpf.Allowance{}, map[bpf.SiteID]bool{}
	for _, s := range sites {
		there[s.ID] = true
		if s.Network != nil && s.Network.Rate != (spec.NetworkRate{}) {
			want[s.ID] = allowance(m.of(s.Network.Rate))
		}
	}
	var errs []error
	for id, a := range want {
		if is, set := m.have[id]; set && is == a {
			continue
		}
		err := m.kernel.SetAllowance(id, a)
		if err == nil {
			m.have[id] = a
		}
		errs = append(errs, err)
	}
	remove := func(id bpf.SiteID) {
		err := m.kernel.DeleteAllowance(id)
		if err == nil {
			delete(m.have, id)
			delete(m.there, id)
		}
		errs = append(errs, err)
	}
	for id := range m.have {
		if _, stays := want[id]; !stays {
			remove(id)
		}
	}
	for id := range m.there {
		if !there[id] {
			remove(id)
		}
	}
	for id := range there {
		m.there[id] = true
	}
	return errors.Join(errs...)
}

// of is what a spec says, and the node where it says nothing.
func (m *metered) of(r spec.NetworkRate) spec.NetworkRate {
	if r.Connections == 0 {
		r.Connections = m.node.Connections
	}
	if r.Packets == 0 {
		r.Packets = m.node.Packets
	}
	return r
}

// A site may begin what it has saved up in ten seconds at once, as a page that asks
// many services does, and send what it may in one.
func allowance(r spec.NetworkRate) bpf.Allowance {
	return bpf.Allowance{Connections: rate(r.Connections, 10), Packets: rate(r.Packets, 1)}
}

func rate(n spec.Pace, seconds uint32) bpf.Rate {
	if n <= 0 {
		return bpf.Rate{}
	}
	return bpf.Rate{Burst: seconds * uint32(n), Every: time.Second / time.Duration(n)} //nolint:gosec // at most ten million
}
