package node

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// readHeld takes held packets from the kernel's ring: each wakes its site. A visitor waits behind each of them.
func (n *Node) readHeld(r *bpf.HeldReader) {
	first := n.threads.PromoteRationed()
	defer first.End()
	for ; ; first.Account() {
		p, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.Log.Error("a held packet is lost; its client will repeat it", "error", err)
			continue
		}
		n.watch.Held.During(func() { n.Held(p) })
	}
}

// readEvents takes what the replicas' sockets did from the other ring: that one listens at last for which visitors wait, or
// is knocked at.
func (n *Node) readEvents(r *bpf.EventReader) {
	first := n.threads.PromoteRationed()
	defer first.End()
	for ; ; first.Account() {
		ev, err := r.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.Log.Error("an event of the data path cannot be read", "error", err)
			continue
		}
		if e := n.table.ByID(ev.Site); e != nil {
			n.watch.Sockets.During(func() { e.SocketEvent(ev) })
		}
	}
}

// guardSite is life.Host.Guard for those who know a site by its number.
func (n *Node) guardSite(id bpf.SiteID, f func()) { n.Guard(n.table.ByID(id), f) }

// beat tells the data path that somebody reads what it holds. A silence of 0 ends what
// an earlier daemon has said.
func (n *Node) beat() {
	if err := n.dp.Beat(time.Duration(n.Cfg.Hold.Silence)); err != nil {
		n.notBeating(err)
	}
}

// keepBeating goes on with that as long as it is so.
func (n *Node) keepBeating(ctx context.Context) {
	if silence := time.Duration(n.Cfg.Hold.Silence); silence > 0 {
		n.watch.Beat(ctx, silence, func() error { return n.dp.Beat(silence) }, n.notBeating)
	}
}

func (n *Node) notBeating(err error) {
	n.Log.Error("the data path is not told that the daemon is well", "error", err)
}
