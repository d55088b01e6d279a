package node

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// entry is what the node keeps in memory of each site, asleep or not. There
// may be a hundred thousand: the spec of a parked site stays on disk.
type entry struct {
	id      bpf.SiteID
	name    string
	addr4   netip.Addr
	addr6   netip.Addr
	ports   []spec.Port
	domains []string
	gateway *spec.Gateway // nil where the spec says nothing
	source  string
	digest  [32]byte
	least   uint8 // replicas of an awake site
	most    uint8

	deleting bool // guarded by Node.mu

	mu      sync.Mutex
	gone    bool     // deleted; guarded by mu, as all below
	image   bool     // there is a checkpoint of it
	active  *active  // nil while parked; set by awake.become only
	history *history // nil until something has happened
}

// history outlives the activity.
type history struct {
	decision *api.Decision
	failure  *api.SiteError
	idle     time.Time // when its last connection ended, as far as known
	failed   bool      // the last wake failed
	unscaled bool      // it was told which limits cannot be scaled
	came     uint64    // connections since its last wake, as far as counted
}

// active is what a site has while it is not simply parked.
type active struct {
	spec     *spec.Site
	machine  *site.Machine
	replicas map[site.ReplicaID]*replica
	timers   map[timerKey]*time.Timer
	trace    *wakeTrace    // of the wake that is under way
	changed  chan struct{} // closed and replaced after each event
	retry    time.Time     // end of the backoff

	experience *experience // nil until it was read
	rungs      []site.Rung // of the machine's ladder, when it was last looked at
	scaling    *scaling    // nil while nothing serves, or there is nothing to scale
	seen       meter       // for those who look at the site
}

// replica is one replica's belongings. Guarded by its entry's mu, but for ns and
// kernel: those are the start's until it is over, and do not change afterwards.
type replica struct {
	id       site.ReplicaID
	name     string // "<site>-<id>"
	started  time.Time
	image    string // digest
	cancel   func() // ends a start that is under way
	stopping bool
	kill     bool   // it is to be ended without being asked
	asleep   bool   // marked so in the data path, as far as known
	execs    int    // sessions of `fcnode exec`, which keep it awake
	came     uint64 // connections, as last counted
	ns       *netctl.Namespace
	kernel   bpf.Replica // as the data path knows it; valid if ns is set
	ctr      *container.Container
	trace    *wakeTrace // until its first byte
	from     site.Tier  // that it was last on, if it is known; TierRunning: it was started

	frozen  bool     // asleep, or found so
	descent *descent // on its way there
	gate    *gate    // at which it waits, prepared
	queued  bool     // waits for its turn in the queue of starts
	leave   func()   // ends the turn
	woken   func()   // ends its precedence; nil unless somebody waits for it

	dumped    bool   // ends, and leaves an image
	restoring bool   // gets no packets yet, whatever its sockets say
	proof     *proof // that it serves, which a restored one still owes; nil: it has, or is no such
}

func newEntry(s *store.Site) *entry {
	e := &entry{id: bpf.SiteID(s.ID), name: s.Spec.Name, addr4: s.Addr4, addr6: s.Addr6}
	e.describe(s)
	return e
}

// describe takes over what may change from one apply to the next.
func (e *entry) describe(s *store.Site) {
	e.ports = slices.Clip(s.Spec.Ports)
	e.domains = slices.Clip(s.Spec.Domains)
	e.gateway = gatewayOf(&s.Spec)
	e.source = s.Source
	e.digest = digestOf(&s.Spec)
	e.least, e.most = uint8(s.Spec.Scale.Min), uint8(max(1, s.Spec.Scale.Max))
}

func (e *entry) addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{e.addr4, e.addr6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// listeners of the site: each port on each address.
func (e *entry) listeners() map[bpf.Listener]bpf.ListenerSite {
	out := make(map[bpf.Listener]bpf.ListenerSite, 2*len(e.ports))
	for i, p := range e.ports {
		for _, a := range e.addrs() {
			l := bpf.Listener{Addr: a, Port: p.Port, Proto: protoOf(p)}
			out[l] = bpf.ListenerSite{Site: e.id, PortBit: uint8(i)}
		}
	}
	return out
}

func protoOf(p spec.Port) bpf.Proto {
	if p.Proto == "udp" {
		return bpf.UDP
	}
	return bpf.TCP
}

// notify wakes up those who wait for the site to change.
func (a *active) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (e *entry) past() *history {
	if e.history == nil {
		e.history = &history{}
	}
	return e.history
}
