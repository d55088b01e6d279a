package life

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// Site is what the node keeps in memory of each site, asleep or not. There may
// be a hundred thousand: the spec of a parked site stays on disk.
type Site struct {
	Host    *Host
	ID      bpf.SiteID
	Name    string
	Addr4   netip.Addr
	Addr6   netip.Addr
	Ports   []spec.Port
	Domains []string
	Gateway *spec.Gateway // nil where the spec says nothing
	Network *spec.Network // likewise
	Ignore  *spec.Ignored // likewise

	schedule []spec.Task
	Source   string
	Digest   [32]byte
	Pinned   unique.Handle[string] // digest of its image, which thousands of sites share; of "": a folder, or not known yet
	Least    uint8                 // replicas of a live site
	Most     uint8

	startTimeout spec.Duration // 0: the node's
	within       time.Duration // the age by which it is circulated at a moment that the node chooses; 0: it is not
	Deleting     bool          // guarded by the table

	mu   sync.Mutex
	live Live
}

// Live is a site whose lock is held: With gives it, for the time of a call, and
// nothing else does. What is known of the site's replicas, and what is done with
// them, hangs on it.
type Live struct {
	*Site
	*Activity // nil while the site is parked

	gone   bool         // deleted
	fault  *guard.Fault // for which the site is quarantined
	left   *Activity    // of before that; nil: it was parked
	Image  bool         // there is a checkpoint of it
	waking bool         // from being parked: its record is being read
	drop   bool         // what lies on disk of one goes as soon as the lock is free: see With
	number uint32       // of its newest replica

	revision uint32 // of what lies on disk of a parked site

	pause   *pause   // nil: its processes may run
	History *history // nil until something has happened
}

// With calls f with the site's lock held. A checkpoint that f has dropped cannot be restored from when With returns: it is
// removed in between, without the lock, as that waits for the disk.
func (st *Site) With(f func(l *Live)) {
	st.mu.Lock()
	defer unlock(st, (*Host).removeImage)
	defer heed(&st.live)
	f(&st.live)
}

// tryWith is With unless somebody else holds the lock: false. It does not wait for the disk.
func (st *Site) tryWith(f func(l *Live)) bool {
	if !st.mu.TryLock() {
		return false
	}
	defer unlock(st, func(h *Host, name string) { h.Go(func() { h.removeImage(name) }) })
	defer heed(&st.live)
	f(&st.live)
	return true
}

func unlock(st *Site, remove func(*Host, string)) {
	drop := st.live.drop
	st.live.drop = false
	st.mu.Unlock()
	if drop {
		remove(st.Host, st.Name)
	}
}

// History outlives the activity.
type history struct {
	Decision *event.Decision
	Failure  *event.Failure
	Idle     time.Time // when its last connection ended, as far as known
	byHand   bool      // who sent it to sleep was a person
	failed   bool      // the last wake failed
	unscaled []string  // why some limits cannot be scaled, as far as it was told
	came     uint64    // connections since its last wake, as far as counted
	late     uint64    // wakes that took too long for its service level, until they are learnt
}

// Activity is what a site has while it is not simply parked.
type Activity struct {
	Spec     *spec.Site
	Machine  *site.Machine
	Replicas map[site.ReplicaID]*Replica
	timers   map[timerKey]*time.Timer
	trace    *wakeTrace    // of the wake that is under way
	changed  chan struct{} // closed and replaced after each event
	retry    time.Time     // end of the backoff

	unhealthy int // replicas in a row that were

	experience *policy.Experience
	rungs      []site.Rung  // of the machine's ladder, when it was last looked at
	Scaling    *scale.State // nil while nothing serves, or there is nothing to scale
	Seen       scale.Meter  // for those who look at the site
}

// Replica is one replica's belongings. Guarded by its entry's mu, but for ns and
// kernel: those are the start's until it is over, and do not change afterwards.
type Replica struct {
	ID       site.ReplicaID
	Name     string // <site>-<its number among those of the site>
	Started  time.Time
	Image    string // digest
	pinned   string // digest of the image that it is to be started from; empty: what the spec's image is then
	cancel   func() // ends a start that is under way
	stopping bool
	paused   <-chan struct{} // closed when the site's pause is over; nil: it was never in one
	kill     bool            // it is to be ended without being asked
	ousted   string          // why it was killed for what it does, beside all that; empty: it was not
	asleep   bool            // marked so in the data path, as far as known
	waits    int             // of its steps that wait for the end of a pause
	execs    int             // sessions of `fcnode exec` and commands on schedule, which keep it awake
	unasked  bool            // started for a command on schedule; whether somebody came since is for the data path to say
	last     time.Time       // when the last visitor of before left, of one that was woken ahead of the next
	came     uint64          // connections, as last counted
	OwnConns int             // connections to others that it held when it was last put to sleep, or they were counted
	ns       Namespace
	kernel   bpf.Replica // as the data path knows it; valid if ns is set
	Ctr      Container
	sources  []volume.Source // of its volumes, but for those that the node keeps
	trace    *wakeTrace      // until its first byte
	from     detect.Tier     // that it was last on, if it is known; empty: it was started

	frozen  bool     // asleep, or found so
	descent *descent // on its way there
	gate    *gate    // at which it waits, prepared
	queued  bool     // waits for its turn in the queue of starts
	leave   func()   // ends the turn
	woken   func()   // ends its precedence; nil unless somebody waits for it

	dumped    bool         // ends, and leaves an image
	restoring bool         // gets no packets yet, whatever its sockets say
	keepers   atomic.Int32 // goroutines that take it away in the end
	ports     ports        // who listens, as far as known
	closed    bool         // nor does it get any before its ready probe has passed
	asked     bool         // by that probe
	unready   error        // what the probe's last try has found
	work      *work        // of which a first sample was taken; nil: nobody looks at it
	checkup   *checkup     // nil unless it serves and has a health probe
	stall     *stall       // nil: adopted or paused, and not looked at since
	proof     *proof       // that it serves, which a restored one still owes; nil: it has, or is no such
}

// New makes a parked site.
func New(h *Host, s *store.Site) *Site {
	e := &Site{Host: h, ID: bpf.SiteID(s.ID), Name: s.Spec.Name, Addr4: s.Addr4, Addr6: s.Addr6}
	e.live.Site = e
	e.Describe(s)
	return e
}

// Describe takes over what may change from one apply to the next. Who has the site in a table calls it with its lock held.
func (st *Site) Describe(s *store.Site) {
	st.Ports = slices.Clip(s.Spec.Ports)
	st.Domains = slices.Clip(s.Spec.Domains)
	st.Gateway, st.Network, st.Ignore = gatewayOf(&s.Spec), networkOf(&s.Spec), ignoredOf(&s.Spec)
	st.schedule = slices.Clip(s.Spec.Schedule)
	st.Source = s.Source
	st.Digest = DigestOf(&s.Spec)
	st.live.revision++
	st.startTimeout = s.Spec.Start.Timeout
	st.within = circulatesWithin(&s.Spec)
	st.Pinned = unique.Make(s.Image)
	st.Least, st.Most = uint8(s.Spec.Scale.Min), uint8(max(1, s.Spec.Scale.Max))
}

// Addrs are the site's VIPs.
func (st *Site) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{st.Addr4, st.Addr6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Listeners of the site: each port on each address.
func (st *Site) Listeners() map[bpf.Listener]bpf.ListenerSite {
	out := make(map[bpf.Listener]bpf.ListenerSite, 2*spec.CountPorts(st.Ports))
	for i, p := range st.Ports {
		for _, a := range st.Addrs() {
			for n := range p.Count() {
				l := bpf.Listener{Addr: a, Port: p.Port + uint16(n), Proto: protoOf(p)}
				out[l] = bpf.ListenerSite{Site: st.ID, PortBit: uint8(i), Range: p.IsRange()}
			}
		}
	}
	return out
}

// ranges are the bits of ports that are ranges. An application may open some of their
// ports as it needs them, and no others.
func ranges(ports []spec.Port) (bits uint32) {
	for i, p := range ports {
		if p.IsRange() {
			bits |= 1 << i
		}
	}
	return bits
}

func protoOf(p spec.Port) bpf.Proto {
	if p.Proto == "udp" {
		return bpf.UDP
	}
	return bpf.TCP
}

// notify wakes up those who wait for the site to change.
func (a *Activity) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (l *Live) past() *history {
	if l.History == nil {
		l.History = &history{}
	}
	return l.History
}

// gatewayOf keeps what the spec says about front ends, if it says something.
func gatewayOf(s *spec.Site) *spec.Gateway {
	if s.Gateway.IsZero() {
		return nil
	}
	g := s.Gateway
	return &g
}

// ignoredOf is who is no visitor of the site alone.
func ignoredOf(s *spec.Site) *spec.Ignored {
	if s.Ignore.IsZero() {
		return nil
	}
	i := s.Ignore
	return &i
}

// networkOf is whom a site may talk to: its own name servers, too. Those of the
// node are every site's.
func networkOf(s *spec.Site) *spec.Network {
	if s.Network.IsZero() && len(s.DNS.Servers) == 0 {
		return nil
	}
	n := s.Network
	for _, a := range s.DNS.Servers {
		for _, proto := range []string{"udp", "tcp"} {
			n.Allow = append(slices.Clip(n.Allow), spec.Peer{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: spec.Port{Port: spec.PortDNS, Proto: proto}})
		}
	}
	return &n
}
