package life

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// Held takes a held packet: it wakes its site.
func (h *Host) Held(p bpf.HeldPacket) {
	e := h.Finder.ByID(p.Site)
	h.Guard(e, func() { h.held(p, e) })
}

func (h *Host) held(p bpf.HeldPacket, e *Site) {
	read := h.Now()
	var within time.Duration
	if e != nil {
		within = e.holdsFor()
	}
	if _, err := h.Holder.Add(p, within); err != nil {
		h.Log.Debug("a packet was not held; its client will repeat it", "client", p.Client, "vip", p.VIP, "error", err)
	}
	if e == nil {
		h.refuse(p.Site) // deleted while the packet was on its way
		return
	}
	t := e.packetTrace(p, read)
	h.inbox.post(e, func(l *Live) {
		joins(l, p)
		switch {
		case l.Activity != nil:
			l.wakeUp(site.PacketHeld{}, t)
		case !l.waking:
			l.waking = true
			e.goDo(func() { wakeParked(e, t) })
		}
	})
}

// wakeParked wakes a site for a packet that is held. Others that come meanwhile are released, or refused, with it.
func wakeParked(st *Site, t *wakeTrace) {
	over := func(l *Live) { l.waking = false }
	defer st.With(over) // also where it panics
	err := withMachine(st, func(l *Live) error {
		over(l)
		l.wakeUp(site.PacketHeld{}, t)
		return nil
	})
	if err != nil {
		st.With(over) // who comes from here on wakes it anew
		st.Host.Log.Error("cannot wake a site; refusing its visitors", "site", st.Name, "error", err)
		st.Host.refuse(st.ID)
	}
}

// SocketEvent takes what a socket of one of the site's replicas did.
func (st *Site) SocketEvent(ev bpf.Event) {
	st.Host.Guard(st, func() {
		st.Host.inbox.post(st, func(l *Live) {
			if l.Activity == nil {
				return
			}
			if r := l.Replicas[site.ReplicaID(ev.Replica)]; r != nil {
				l.socketEvent(r, ev)
			}
		})
	})
}

func (l *Live) socketEvent(r *Replica, ev bpf.Event) {
	id := r.ID
	switch ev.Kind {
	case bpf.EventReady:
		r.portsChanged(l, ev.Time)
	case bpf.EventKnock:
		r.asleep = false // the program has cleared its mark
		if r.trace == nil {
			if r.trace = l.knockTrace(r, ev.Time); r.trace != nil {
				l.Host.Ahead.woke(l)
			}
		}
		l.handle(site.Knocked{ID: id})
		if m, ok := l.Machine.Replica(id); ok && m.State == site.Ready { // it was not asleep yet
			l.Host.unmark(r)
		}
	case bpf.EventEmpty:
		if empty := emptied(l, id); empty != nil {
			l.handle(empty)
		}
	case bpf.EventEstablished:
		l.Host.Scale.FirstFlow(l.Scaled(), id, ev.Time)
		if r.trace != nil {
			r.trace.mark(event.StepConnected, ev.Time)
		}
	case bpf.EventFirstByte:
		r.endWake()
		r.proof.given(l)
		if r.trace != nil {
			r.trace.mark(event.StepFirstByte, ev.Time)
			r.trace.teach(l)
			l.Host.endTrace(r.trace, event.ResultOK, "")
			r.trace = nil
		}
	}
}

// allReady says whether each port is listened on for each family that the site
// has an address of. Of a range that is never said: its time of grace goes by, and then
// the replica's own kernel refuses who comes to a port that nobody has opened.
func (st *Site) allReady(ready4, ready6 uint32) bool {
	if ranges(st.Ports) != 0 {
		return false
	}
	all := bpf.AllPorts(len(st.Ports))
	return (!st.Addr4.IsValid() || ready4&all == all) && (!st.Addr6.IsValid() || ready6&all == all)
}
