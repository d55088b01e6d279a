package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/journal"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// What the state machines are told besides the spec.
const (
	settleTime = 2 * time.Second  // from the first listening port to giving up on the others
	stableTime = 10 * time.Second // a replica that lived so long is no crash loop
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
	// A handshake that was under way when its replica began to drain has this
	// time: thrice the round trip that the kernel expects of a client it does not
	// know (RFC 6298: 1 s until it is measured), as its answer may be lost once.
	lingerTime = 3 * time.Second
)

// Node is the daemon's state.
type Node struct {
	cfg  config.Config
	log  *slog.Logger
	info api.NodeInfo // what does not change
	host cgroup.Host

	store      *store.Store
	journal    *journal.Journal
	images     *image.Store
	dp         *bpf.Datapath
	net        *netctl.Net
	holder     *netctl.Holder
	parent     *cgroup.Parent
	containers *container.Manager
	closers    []func() error

	starts      *startQueue
	wakes       precedence
	memory      nodeMemory
	prepared    preparedSet
	preparing   sync.Mutex // one replica is prepared at a time
	preparedMu  sync.Mutex // guards their file
	experiences *experiences
	criu        criuState
	imageDisk   imageDisk

	budget       *budget
	looks        *looks
	allowance    allowance // of the threads that go before others
	notFirst     sync.Once // it is told once where they do not
	watcher      *cgroup.Watcher
	loads        loadCache
	costs        actionCosts
	scaleMetrics *scaleMetrics

	mended   []string     // what was wrong with the node's folders
	alwaysOn []*spec.Site // found at the start, to be woken once events are read

	ctx  context.Context //nolint:containedctx // of all work; ends when the daemon does
	work sync.WaitGroup

	mu      sync.RWMutex // guards what follows
	sites   map[string]*entry
	ids     map[bpf.SiteID]*entry
	domains map[string]string // to the site's name
	pools   []*addresses

	quarantine quarantine
	routes     routeFeed

	awake awake // those of them that are not parked

	apply sync.Mutex // one change of the set of sites at a time

	replicaMu   sync.Mutex
	nextReplica uint32 // next to give out; above lastReplica: none is left
	lastReplica uint32
}

func (n *Node) stopped() bool { return n.ctx.Err() != nil }

func (n *Node) byID(id bpf.SiteID) *entry {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ids[id]
}

func (n *Node) byName(name string) (*entry, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if e := n.sites[name]; e != nil {
		return e, nil
	}
	return nil, notFound(name)
}

func notFound(name string) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("site %q: not found", name),
		Hint: "fcnode list shows the sites of this node",
	}
}

// count is how many sites there are.
func (n *Node) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sites)
}

// all returns the sites in no order.
func (n *Node) all() []*entry {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := make([]*entry, 0, len(n.sites))
	for _, e := range n.sites {
		out = append(out, e)
	}
	return out
}

// policy is what the site's machine is told. The caller holds e.mu.
func (n *Node) policy(e *entry, s *spec.Site) site.Policy {
	return site.Policy{
		Min: s.Scale.Min, Max: s.Scale.Max, Ladder: n.ladder(e, s),
		StartTimeout: n.startTimeout(s), Settle: settleTime,
		Stable: stableTime, BackoffMin: backoffMin, BackoffMax: backoffMax,
		Lifetime: time.Duration(s.Lifetime.After), Linger: lingerTime, Drain: time.Duration(s.Circulate.Drain),
		Overlap: s.Circulate.Overlap, Ahead: s.Circulate.Ahead,
		Spares: n.spares(s), SpareTier: site.Tier(s.Scale.Spare.Tier),
	}
}

func (n *Node) startTimeout(s *spec.Site) time.Duration {
	if s.Start.Timeout > 0 {
		return time.Duration(s.Start.Timeout)
	}
	return time.Duration(n.cfg.Start.Timeout)
}

// newReplicaID never returns a number twice, also over restarts: they are taken
// from the store in blocks, so a wake does not wait for the disk.
func (n *Node) newReplicaID() site.ReplicaID {
	n.replicaMu.Lock()
	defer n.replicaMu.Unlock()
	if n.nextReplica > n.lastReplica {
		first, last, err := n.store.ReplicaIDs()
		if err != nil {
			// The disk is full or broken. Numbers of this boot are unique all the
			// same, and nothing that outlives the boot is named by them.
			n.log.Error("cannot reserve replica numbers; going on with unreserved ones", "error", err)
			first, last = n.lastReplica+1, n.lastReplica+1
		}
		n.nextReplica, n.lastReplica = first, last
	}
	id := n.nextReplica
	n.nextReplica++
	return site.ReplicaID(id)
}

func (n *Node) journalEvent(ev api.Event) {
	ev, err := n.journal.Append(ev)
	if err != nil {
		n.log.Error("an event is not on disk", "error", err)
	}
	n.log.Info(ev.Kind, "site", ev.Site, "replica", ev.Replica, "reason", ev.Reason)
}

func (n *Node) logDir(siteName string) string {
	return filepath.Join(n.cfg.StateDir, "logs", siteName)
}

// digestOf is the spec's digest without its text form, which takes thrice the
// memory.
func digestOf(s *spec.Site) (out [32]byte) {
	_, text, _ := strings.Cut(s.Digest(), ":")
	// of a digest that this program has just made
	_, _ = hex.Decode(out[:], []byte(text))
	return out
}

// poolOf finds the prefix that an address lies in. The caller holds n.mu.
func (n *Node) poolOf(a netip.Addr) (*addresses, error) {
	for _, p := range n.pools {
		if p.contains(a) {
			return p, nil
		}
	}
	var prefixes []netip.Prefix
	for _, p := range n.pools {
		prefixes = append(prefixes, p.prefix)
	}
	return nil, fmt.Errorf("address %s is in none of the node's prefixes %v", a, prefixes)
}

var errStopping = errors.New("the daemon is stopping")
