package node

import (
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
)

// How many visitors a site has, and how many of them find it asleep, steers its idle
// times when its spec has an objective for that. Visitors are connections here: they are
// what the kernel sees of every protocol. Who sends several requests on one counts once, so
// that a site sleeps a little later than it might.

// came notes the connections of a replica, which are read before it goes to sleep
// and before it ends. The caller holds e.mu.
func (e *entry) came(r *replica, total uint64) {
	if e.active.spec.Objective.Cold.Share() == 0 {
		return
	}
	e.past().came += total - min(r.came, total)
	r.came = total
}

// woke takes a wake into account, with all connections since the last one: took is what
// it has added to its visitor's first answer. The caller holds the mu of the site's entry.
func (x *experience) woke(came uint64, took, since time.Duration, share float64) {
	asleep := uint64(0)
	if took > sleep.Noticeable {
		asleep = 1
	}
	x.Visitors.Observe(max(1, came), asleep, since, share)
}

// learnVisits does so for a wake that is over now. The caller holds e.mu.
func (n *Node) learnVisits(e *entry, x *experience, took time.Duration, now time.Time) {
	share := e.active.spec.Objective.Cold.Share()
	if share == 0 {
		return
	}
	since := time.Duration(0)
	if !x.Woke.IsZero() {
		since = max(0, now.Sub(x.Woke))
	}
	h := e.past()
	x.woke(h.came, took, since, share)
	h.came, x.Woke = 0, now
}
