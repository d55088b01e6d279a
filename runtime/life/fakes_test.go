package life

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// world is all that a daemon finds on its machine, in memory. It outlives the
// daemon, as the real one does. Its time is that of synctest.
type world struct {
	t     *testing.T
	dir   string
	epoch time.Time

	mu         sync.Mutex
	replicas   map[bpf.ReplicaID]*fakeReplica
	sites      map[bpf.SiteID]bpf.Site // absent: parked
	held       map[bpf.SiteID]int
	released   int
	refused    int
	within     time.Duration // for which the last packet is held at least
	containers map[string]*fakeContainer
	broken     error                                     // of all starts, if not nil
	answers    func(to netip.AddrPort) (net.Conn, error) // of who dials inside; nil: refused
	own        []netctl.OwnConn                          // of every replica
	slow       chan struct{}
	bug        string // what panics
	panics     int    // so often it has
	strangers  bool   // those who come send a SYN and nothing else
	proven     bool   // what is held ends handshakes
	expect     []netip.AddrPort
	images     fakeImages
	sources    []volume.Source // of each container's volumes
	config     func(*config.Config)
	others     int    // sites besides "a", all with the same spec
	memory     uint64 // that a container holds while it is awake, in bytes
	left       uint64 // and when it was reclaimed; 0: this machine cannot
	total      uint64 // of memory, for all containers; 0: there is always some
	swap       uint64
}

type fakeReplica struct {
	kernel bpf.Replica
	stats  bpf.ReplicaStats
	load   bpf.Load
	open   map[uint16]bool // ports of ranges
	flow   time.Time       // until when its flow of UDP lives if nothing comes; zero: it has none
	looks  int             // at who listens
}

// mayPanic is called by what package life calls.
func (w *world) mayPanic(what string) {
	w.mu.Lock()
	is := w.bug == what
	if is {
		w.panics++
	}
	w.mu.Unlock()
	if is {
		panic("the bug of " + what)
	}
}

func (w *world) now() uint64 { return uint64(time.Since(w.epoch)) + 1 }

// daemon is one on that machine.
type daemon struct {
	*Host
	w    *world
	stop func()
	all  map[string]*Site
}

// inWorld runs a test in a world with synctest's clock.
func inWorld(t *testing.T, specs string, test func(t *testing.T, w *world, d *daemon, s *Site)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, dir: dir, epoch: time.Now(), replicas: map[bpf.ReplicaID]*fakeReplica{}, sites: map[bpf.SiteID]bpf.Site{},
			held: map[bpf.SiteID]int{}, containers: map[string]*fakeContainer{},
			images: fakeImages{tag: "sha256:a"},
		}
		d := w.start(specs)
		defer func() { d.kill() }() // the last one
		test(t, w, d, d.all["a"])
	})
}

// start begins a daemon with one site, "a".
func (w *world) start(specs string) *daemon {
	kept, err := store.Open(filepath.Join(w.dir, "state.db"), store.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := eventlog.Open(filepath.Join(w.dir, "events"), eventlog.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	volumes, err := volume.OpenStore(filepath.Join(w.dir, "volumes"), log)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := config.Default()
	cfg.StateDir = w.dir
	if w.config != nil {
		w.config(&cfg)
	}
	d := &daemon{w: w, all: map[string]*Site{}}
	h := &Host{
		Cfg: cfg, Log: log, Ctx: ctx, Now: w.now, Has: func(string) bool { return true },
		Store: kept, Eventlog: events, Images: &w.images, NamedVolumes: volumes, Sources: volume.NewComparer(cfg.VolumeRoots, cfg.SecretRoots), Data: w, Net: w, Holder: fakeHolder{w}, Containers: (*fakeContainers)(w),
		Starts: priority.NewSlots(4), Errands: priority.NewSlots(1), Means: policy.Means{Prepared: 4, HasMemory: w.left > 0, CRIU: policy.NewCRIU(), Reclaim: cfg.Reclaim}, Finder: d,
	}
	h.Numbers = Numbers{Take: kept.ReplicaIDs, Go: h.Work.Go, Lost: h.NoNumbers}
	h.Numbers.Reserve()
	h.Means.CRIU.Found(errors.New("this world has no criu"))
	h.Experiences = policy.OpenStore(w.dir, h.Work.Go, h.NotKept)
	h.Arrivals = OpenArrivals(h, w)
	h.Budget = NewBudget(h, w.used)
	h.Ahead = NewAhead(h)
	h.Go(func() { h.Ahead.Follow(ctx) })
	h.Admission = NewAdmission(h, w.memoryLeft)
	h.Admission.busy = func() string { return "" } // whatever this machine does
	h.Scale, err = scale.New(scale.Options{
		Log: log, Data: w, Has: h.Has, Threads: &priority.Threads{Log: log}, Go: h.Go, Stopped: h.Stopped,
		Site:  func(bpf.SiteID) (scale.Ref, bool) { return nil, false },
		Guard: func(id bpf.SiteID, f func()) { h.Guard(d.ByID(id), f) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	d.Host = h
	rec := &store.Site{ID: 1, Spec: *parseLife(w.t, specs), Addr4: netip.MustParseAddr("10.77.0.12")}
	if err := kept.Put([]*store.Site{rec}); err != nil {
		w.t.Fatal(err)
	}
	d.all["a"] = New(h, rec)
	for i := range w.others {
		other := &store.Site{ID: uint32(i + 2), Spec: rec.Spec, Addr4: netip.AddrFrom4([4]byte{10, 77, 1, byte(i)})}
		other.Spec.Name = fmt.Sprintf("b%d", i)
		if err := kept.Put([]*store.Site{other}); err != nil {
			w.t.Fatal(err)
		}
		d.all[other.Spec.Name] = New(h, other)
	}
	d.stop = sync.OnceFunc(func() {
		cancel()
		h.Work.Wait()
		if err := errors.Join(h.Arrivals.Close(), h.Scale.Close(), events.Close(), volumes.Close(), kept.Close()); err != nil {
			w.t.Error(err)
		}
	})
	return d
}

// kill ends the daemon, and nothing else.
func (d *daemon) kill() {
	for _, st := range d.all {
		st.With((*Live).Leave)
	}
	d.stop()
}

func (d *daemon) All() []*Site {
	var out []*Site
	for _, s := range d.all {
		out = append(out, s)
	}
	return out
}

func (d *daemon) ByName(name string) (*Site, error) {
	if s := d.all[name]; s != nil {
		return s, nil
	}
	return nil, errors.New("no such site")
}

func (d *daemon) ByID(id bpf.SiteID) *Site {
	for _, s := range d.all {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// visit is a visitor's first packet: the kernel holds it if the site is parked.
func (d *daemon) visit(s *Site) {
	w := d.w
	w.mu.Lock()
	set, awake := w.sites[s.ID]
	var to *fakeReplica
	for _, r := range set.Replicas {
		if own := w.replicas[r.ID]; own != nil && !r.Draining && own.stats.Ready4 != 0 && !own.stats.Closed {
			to = own
		}
	}
	if awake && to != nil {
		asleep := to.stats.Asleep
		to.stats.Asleep = false
		to.stats.Last = w.now()
		if !w.strangers {
			to.stats.ConnsNow++
			to.stats.ConnsUsed++
			to.stats.ConnsTotal++
			to.stats.Used = w.now()
		}
		id := w.idOf(to)
		w.mu.Unlock()
		if asleep {
			s.SocketEvent(bpf.Event{Kind: bpf.EventKnock, Site: s.ID, Replica: id, Time: w.now()})
		}
		synctest.Wait()
		return
	}
	if set.Refuse {
		w.refused++
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	d.Held(bpf.HeldPacket{Site: s.ID, Client: netip.MustParseAddrPort("203.0.113.9:52114"), VIP: netip.AddrPortFrom(s.Addr4, 80), Proto: bpf.TCP, Time: w.now()})
	synctest.Wait()
}

// leave ends all connections of a replica.
func (w *world) leave(id bpf.ReplicaID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.replicas[id]
	r.stats.ConnsNow, r.stats.ConnsUsed, r.stats.Used = 0, 0, w.now()
}

// listen is what a replica's application does when it is up.
func (d *daemon) listen(s *Site, id bpf.ReplicaID) {
	w := d.w
	w.mu.Lock()
	w.replicas[id].stats.Ready4 = 1
	w.mu.Unlock()
	s.SocketEvent(bpf.Event{Kind: bpf.EventReady, Site: s.ID, Replica: id, Ready4: 1, Time: w.now()})
	synctest.Wait()
}

func (w *world) idOf(r *fakeReplica) bpf.ReplicaID {
	for id, have := range w.replicas {
		if have == r {
			return id
		}
	}
	return 0
}

// ids are those of the containers that run, as the data path knows them.
func (w *world) ids() (out []bpf.ReplicaID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := bpf.ReplicaID(1); len(out) < len(w.replicas) && id < 1<<16; id++ {
		if w.replicas[id] != nil {
			out = append(out, id)
		}
	}
	return out
}

func (w *world) parked(id bpf.SiteID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, awake := w.sites[id]
	return !awake
}

// counts gives how many visitors were let in and refused.
func (w *world) counts() (released, refused int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.released, w.refused
}

// kinds are those of the events about the site, the oldest first.
func (d *daemon) kinds() (out []event.Kind) {
	for ev, err := range d.Eventlog.Events(context.Background(), event.Query{}) {
		if err != nil {
			d.w.t.Error(err)
		}
		out = append(out, ev.Kind)
	}
	return out
}

// The data path.

func (w *world) AddReplica(id bpf.ReplicaID, r bpf.Replica) error {
	w.mayPanic("AddReplica")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replicas[id] != nil {
		return fmt.Errorf("replica %d: %w", id, fs.ErrExist)
	}
	w.replicas[id] = &fakeReplica{kernel: r, stats: bpf.ReplicaStats{Closed: r.Closed}}
	return nil
}

func (w *world) RemoveReplica(id bpf.ReplicaID, _ bpf.Replica) error {
	w.mayPanic("RemoveReplica")
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.replicas, id)
	return nil
}

func (w *world) SetSite(id bpf.SiteID, s bpf.Site) error {
	w.mayPanic("SetSite")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sites[id] = s
	return nil
}

func (w *world) ParkSite(id bpf.SiteID) error {
	w.mayPanic("ParkSite")
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sites, id)
	return nil
}

func (w *world) ClearHold(bpf.SiteID) error { return nil }

func (w *world) SetAsleep(id bpf.ReplicaID, on bool) error {
	w.mayPanic("SetAsleep")
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.replicas[id]; r != nil {
		r.stats.Asleep = on
	}
	return nil
}

func (w *world) WatchEmpty(id bpf.ReplicaID, _ bool) (uint64, error) {
	st, err := w.Stats(id)
	return st.ConnsNow, err
}

func (w *world) Flows(id bpf.ReplicaID) (f bpf.Flows, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.replicas[id]
	if r == nil {
		return f, fs.ErrNotExist
	}
	if left := time.Until(r.flow); left > 0 {
		f = bpf.Flows{Live: 1, Lasting: 1, Left: left}
	}
	return f, nil
}

func (w *world) Listens(id bpf.ReplicaID, on bpf.Listener) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.replicas[id]
	if r == nil {
		return false, fs.ErrNotExist
	}
	return r.open[on.Port], nil
}

// datagram passes in a flow of UDP that lasts.
func (w *world) datagram(id bpf.ReplicaID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.replicas[id]
	r.flow = time.Now().Add(r.kernel.UDPIdle)
	r.stats.Last, r.stats.Used = w.now(), w.now()
}

func (w *world) BeginWake(bpf.ReplicaID) error { return nil }

func (w *world) OpenReplica(id bpf.ReplicaID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.replicas[id]; r != nil {
		r.stats.Closed = false
	}
	return nil
}

func (w *world) TakePorts(id bpf.ReplicaID) (ready4, ready6 uint32, err error) {
	w.mayPanic("TakePorts")
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.replicas[id]; r != nil {
		r.looks++
		return r.stats.Ready4, r.stats.Ready6, nil
	}
	return 0, 0, fs.ErrNotExist
}

func (w *world) Stats(id bpf.ReplicaID) (bpf.ReplicaStats, error) {
	w.mayPanic("Stats")
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.replicas[id]; r != nil {
		return r.stats, nil
	}
	return bpf.ReplicaStats{}, fs.ErrNotExist
}

func (w *world) LoadOf(ids ...bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error) {
	w.mayPanic("LoadOf")
	out := map[bpf.ReplicaID]bpf.Load{}
	for _, id := range ids {
		w.mu.Lock()
		if r := w.replicas[id]; r != nil {
			load := r.load
			load.ConnsNow, load.ConnsTotal = r.stats.ConnsNow, r.stats.ConnsTotal
			out[id] = load
		}
		w.mu.Unlock()
	}
	return out, nil
}

func (w *world) Counters() (map[string]uint64, error) { return nil, nil }
func (w *world) Listeners() (map[bpf.Listener]bpf.ListenerSite, error) {
	return nil, nil
}
func (w *world) PutListeners(map[bpf.Listener]bpf.ListenerSite) error { return nil }
func (w *world) DeleteListeners(...bpf.Listener) error                { return nil }

// What the meter of arrivals asks the kernel for.

func (w *world) EachReplica(f func(bpf.ReplicaID, bpf.SiteID, bpf.ReplicaStats)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.replicas {
		f(id, r.kernel.Site, r.stats)
	}
	return nil
}

func (w *world) Traffic(id bpf.ReplicaID) (bpf.Load, error) {
	all, err := w.LoadOf(id)
	return all[id], err
}

// What scaling asks the kernel for.

func (w *world) Replicas() (map[bpf.ReplicaID]bpf.Replica, error) { return nil, nil }
func (w *world) Load(ids []bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error) {
	return w.LoadOf(ids...)
}
func (w *world) SetTrigger(bpf.SiteID, bpf.Trigger) error { return nil }
func (w *world) Trigger(bpf.SiteID) (bpf.TriggerState, error) {
	return bpf.TriggerState{}, fs.ErrNotExist
}
func (w *world) RemoveTrigger(bpf.SiteID) error { return nil }

// The network.

func (w *world) Get(context.Context) (Namespace, error) {
	w.mayPanic("Get")
	return fakeNamespace{w}, nil
}

type fakeNamespace struct{ w *world }

func (n fakeNamespace) Dial(_ context.Context, _ netip.Addr, to netip.AddrPort) (net.Conn, error) {
	n.w.mu.Lock()
	answers := n.w.answers
	n.w.mu.Unlock()
	if answers == nil {
		return nil, unix.ECONNREFUSED
	}
	return answers(to)
}

func (fakeNamespace) Listeners() ([]string, error) { return []string{"127.0.0.1:9000"}, nil }

func (n fakeNamespace) OwnConns() ([]netctl.OwnConn, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.own, nil
}

func (n fakeNamespace) ExpectCookies(at netip.AddrPort) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.released > 0 {
		return errors.New("told when packets were released already")
	}
	n.w.expect = append(n.w.expect, at)
	return nil
}

func (fakeNamespace) FD() *os.File               { return nil }
func (fakeNamespace) Cookie() uint64             { return 1 }
func (fakeNamespace) NSID() int                  { return 1 }
func (fakeNamespace) HostIfindex() int           { return 1 }
func (fakeNamespace) Assign(...netip.Addr) error { return nil }
func (fakeNamespace) Close() error               { return nil }
func (fakeNamespace) Leave() error               { return nil }

type fakeHolder struct{ w *world }

func (h fakeHolder) Add(p bpf.HeldPacket, within time.Duration) (bool, error) {
	h.w.mayPanic("Add")
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.held[p.Site]++
	h.w.within = within
	return true, nil
}

func (h fakeHolder) ReleaseIf(id bpf.SiteID, ready func(netip.AddrPort, bpf.Proto, bool) bool) (int, uint64, error) {
	h.w.mayPanic("ReleaseIf")
	h.w.mu.Lock()
	proven := h.w.proven
	h.w.mu.Unlock()
	if !ready(netip.MustParseAddrPort("10.77.0.12:80"), bpf.TCP, proven) {
		return 0, 0, nil
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	n := h.w.held[id]
	h.w.held[id], h.w.released = 0, h.w.released+n
	for _, r := range h.w.replicas {
		if n > 0 && r.kernel.Site == id && r.stats.Ready4 != 0 {
			r.stats.Last = h.w.now()
			if !h.w.strangers {
				r.stats.Used = h.w.now() + 1 // they come a moment later, and leave
			}
		}
	}
	return n, 0, nil
}

func (h fakeHolder) Holds(id bpf.SiteID) bool {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.w.held[id] > 0
}

func (h fakeHolder) Refuse(id bpf.SiteID) (int, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	n := h.w.held[id]
	h.w.held[id], h.w.refused = 0, h.w.refused+n
	return n, nil
}

// fakeImages has the one image that the tag names, and those that were unpacked.
type fakeImages struct {
	tag      string     // digest; empty: the source is gone
	refused  error      // if not nil, what it has may not be used
	mu       sync.Mutex // starts of several replicas resolve at the same time
	unpacked []string
	like     image.Image // what they have besides
}

func (f *fakeImages) Resolve(context.Context, string) (*image.Image, error) {
	if f.tag == "" {
		return nil, image.ErrNotFound
	}
	if f.refused != nil {
		return nil, f.refused
	}
	f.mu.Lock()
	f.unpacked = append(f.unpacked, f.tag)
	f.mu.Unlock()
	return f.Get(f.tag)
}

func (f *fakeImages) Get(digest string) (*image.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.unpacked, digest) {
		return nil, image.ErrNotFound
	}
	out := f.like
	out.Digest = digest
	out.Config.Cmd = []string{"/a"}
	out.Config.ExposedPorts = []string{"9000/tcp"}
	return &out, nil
}

// The containers.

type fakeContainers world

func (f *fakeContainers) Start(ctx context.Context, with container.Spec) (Container, container.Timing, error) {
	(*world)(f).mayPanic("Start")
	f.mu.Lock()
	broken, slow := f.broken, f.slow
	f.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return nil, container.Timing{}, context.Cause(ctx)
		}
	}
	if broken != nil {
		return nil, container.Timing{}, broken
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &fakeContainer{w: (*world)(f), id: with.ID, meta: with.Meta, created: time.Now(), exited: make(chan struct{}), sources: f.sources, memory: f.memory}
	f.containers[with.ID] = c
	return c, container.Timing{}, nil
}

func (f *fakeContainers) Restore(context.Context, container.Spec, string) (Container, container.Timing, error) {
	return nil, container.Timing{}, errors.New("this world has no criu")
}

func (f *fakeContainers) Prepare(_ context.Context, with container.Spec) (Prepared, error) {
	(*world)(f).mayPanic("Prepare")
	return &fakePrepared{f: f, with: with, gone: make(chan struct{}), sources: f.sources}, nil
}

func (f *fakeContainers) Remove(id string) error {
	(*world)(f).mayPanic("Remove")
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.containers, id)
	return nil
}

func (f *fakeContainers) CRIU(context.Context) (*criu.Tool, error) {
	return nil, errors.New("this world has no criu")
}
func (f *fakeContainers) ExpectRestores(context.Context) error { return nil }
func (f *fakeContainers) ExpectUserns()                        {}
func (f *fakeContainers) Place(bool) Namespace                 { return nil }

type fakePrepared struct {
	f    *fakeContainers
	with container.Spec
	gone chan struct{}

	sources []volume.Source
}

func (p *fakePrepared) Memory() uint64 { return 1 }
func (p *fakePrepared) Sources() []volume.Source {
	return p.sources
}
func (p *fakePrepared) Gone() <-chan struct{} { return p.gone }
func (p *fakePrepared) Discard() error        { return nil }
func (p *fakePrepared) Open(ctx context.Context) (Container, container.Timing, error) {
	return p.f.Start(ctx, p.with)
}

type fakeContainer struct {
	w       *world
	id      string
	meta    map[string]string
	created time.Time
	exited  chan struct{}
	sources []volume.Source

	mu     sync.Mutex
	status *container.ExitStatus
	frozen bool
	memory uint64
	cpu    float64 // cores that it has used since it was created
	deaf   bool    // it does not end when it is asked to
}

func (c *fakeContainer) end(st container.ExitStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == nil {
		c.status = &st
		close(c.exited)
	}
}

func (c *fakeContainer) ID() string               { return c.id }
func (c *fakeContainer) Created() time.Time       { return c.created }
func (c *fakeContainer) Group() Group             { return c }
func (c *fakeContainer) Meta() map[string]string  { return c.meta }
func (c *fakeContainer) Sources() []volume.Source { return c.sources }
func (c *fakeContainer) Pid() int                 { return 4711 }
func (c *fakeContainer) Exited() <-chan struct{}  { return c.exited }

func (c *fakeContainer) Exit() (container.ExitStatus, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == nil {
		return container.ExitStatus{}, false
	}
	return *c.status, true
}

func (c *fakeContainer) Stop(ctx context.Context, grace time.Duration) error {
	c.w.mayPanic("Stop")
	if c.deaf {
		time.AfterFunc(grace, func() { c.end(container.ExitStatus{Code: 137, Signal: "SIGKILL"}) })
		return nil
	}
	return c.Kill(ctx)
}

func (c *fakeContainer) Kill(context.Context) error {
	c.end(container.ExitStatus{Code: 137, Signal: "SIGKILL"})
	return nil
}

func (c *fakeContainer) Checkpoint(context.Context, string, container.CheckpointOptions) (criu.Manifest, error) {
	return criu.Manifest{}, errors.New("this world has no criu")
}
func (c *fakeContainer) Preflight() ([]criu.Finding, error) { return nil, nil }
func (c *fakeContainer) Exec(context.Context, container.ExecSpec) (*container.ExecProcess, error) {
	return nil, container.ErrNotRunning
}

// Its cgroup.

func (c *fakeContainer) freeze(on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = on
	return nil
}

func (c *fakeContainer) Freeze(context.Context) error {
	c.w.mayPanic("Freeze")
	return c.freeze(true)
}

func (c *fakeContainer) Thaw(context.Context) error {
	c.w.mayPanic("Thaw")
	return c.BeginThaw()
}

func (c *fakeContainer) BeginThaw() error {
	c.mu.Lock()
	c.memory = c.w.memory // its pages come back
	c.mu.Unlock()
	return c.freeze(false)
}
func (c *fakeContainer) Frozen() (bool, error) {
	c.w.mayPanic("Frozen")
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen, nil
}
func (c *fakeContainer) Reclaim(_ context.Context, most uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.memory
	c.memory = max(c.memory-min(most, c.memory), c.w.left)
	return had - c.memory, nil
}

func (c *fakeContainer) MemoryCurrent() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.memory, 1<<20), nil
}
func (c *fakeContainer) Apply(cgroup.Change) error { return nil }
func (c *fakeContainer) Usage() (cgroup.Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spent := time.Duration(float64(time.Since(c.created)) * c.cpu)
	return cgroup.Usage{CPU: cgroup.CPUUsage{Known: true, Time: spent}}, nil
}
func (c *fakeContainer) Path() string { return "/nowhere" }

// used is what all containers hold that have not ended.
func (w *world) used() (sum uint64, _ error) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.containers))
	w.mu.Unlock()
	for _, c := range all {
		if _, ended := c.Exit(); !ended {
			held, _ := c.MemoryCurrent()
			sum += held
		}
	}
	return sum, nil
}

// memoryLeft is what total says.
func (w *world) memoryLeft() (policy.MemoryLeft, error) {
	used, err := w.used()
	if w.total == 0 {
		return policy.MemoryLeft{Memory: 1 << 50, Total: 1 << 50}, err
	}
	return policy.MemoryLeft{Memory: float64(w.total) - float64(used), Swap: float64(w.swap), Total: float64(w.total)}, err
}

// container is the one of a replica, by its name.
func (w *world) container(replica string) *fakeContainer {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, c := range w.containers {
		if container.Name(id) == replica {
			return c
		}
	}
	return nil
}

// containerOf is the one of a replica, by its number in the data path.
func (w *world) containerOf(id bpf.ReplicaID) *fakeContainer {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, c := range w.containers {
		if _, of, err := OfContainer(name); err == nil && bpf.ReplicaID(of) == id {
			return c
		}
	}
	return nil
}
