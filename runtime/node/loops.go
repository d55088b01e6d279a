package node

import (
	"errors"
	"os"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/site"
)

// readHeld takes held packets from the kernel's ring: each wakes its site. A visitor waits behind each of them.
func (n *Node) readHeld(r *bpf.HeldReader) {
	first := n.goFirstRationed()
	defer first.end()
	for ; ; first.account() {
		p, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.log.Error("a held packet is lost; its client will repeat it", "error", err)
			continue
		}
		n.held(p)
	}
}

func (n *Node) held(p bpf.HeldPacket) {
	read := bpf.Now()
	e := n.byID(p.Site)
	if _, err := n.holder.Add(p); err != nil {
		n.log.Debug("a packet was not held; its client will repeat it", "client", p.Client, "vip", p.VIP, "error", err)
	}
	if e == nil {
		n.refuse(p.Site) // deleted while the packet was on its way
		return
	}
	if err := n.wakeUp(e, site.PacketHeld{}, packetTrace(e.name, p, read)); err != nil {
		n.log.Error("cannot wake a site; refusing its visitors", "site", e.name, "error", err)
		n.refuse(p.Site)
	}
}

// readEvents takes what the replicas' sockets did from the other ring: that one listens at last for which visitors wait, or
// is knocked at.
func (n *Node) readEvents(r *bpf.EventReader) {
	first := n.goFirstRationed()
	defer first.end()
	for ; ; first.account() {
		ev, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.log.Error("an event of the data path cannot be read", "error", err)
			continue
		}
		if e := n.byID(ev.Site); e != nil {
			n.socketEvent(e, ev)
		}
	}
}

func (n *Node) socketEvent(e *entry, ev bpf.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == nil {
		return
	}
	id := site.ReplicaID(ev.Replica)
	r := e.active.replicas[id]
	if r == nil {
		return
	}
	switch ev.Kind {
	case bpf.EventReady:
		r.endTurn()
		if r.restoring {
			return
		}
		if r.trace != nil {
			r.trace.mark(api.StepListening, ev.Time)
			if r.trace.byHand() {
				r.endWake()
				n.endTrace(r.trace, api.ResultOK, "")
				r.trace = nil
			}
		}
		n.handle(e, site.ReplicaReady{ID: id, All: n.allReady(e, ev.Ready4, ev.Ready6)})
	case bpf.EventUnready:
		n.handle(e, site.PortClosed{ID: id})
	case bpf.EventKnock:
		r.asleep = false // the program has cleared its mark
		if r.trace == nil {
			r.trace = n.knockTrace(e, r, ev.Time)
		}
		n.handle(e, site.Knocked{ID: id})
	case bpf.EventEmpty:
		n.handle(e, site.Emptied{ID: id})
	case bpf.EventEstablished:
		n.firstFlow(e, id, ev.Time)
		if r.trace != nil {
			r.trace.mark(api.StepConnected, ev.Time)
		}
	case bpf.EventFirstByte:
		r.endWake()
		n.proved(e, r)
		if r.trace != nil {
			r.trace.mark(api.StepFirstByte, ev.Time)
			n.learn(e, r.trace)
			n.endTrace(r.trace, api.ResultOK, "")
			r.trace = nil
		}
	}
}

// allReady says whether each port is listened on for each family that the site
// has an address of.
func (n *Node) allReady(e *entry, ready4, ready6 uint32) bool {
	all := bpf.AllPorts(len(e.ports))
	return (!e.addr4.IsValid() || ready4&all == all) && (!e.addr6.IsValid() || ready6&all == all)
}
