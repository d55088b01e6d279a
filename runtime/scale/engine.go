package scale

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Ref leads to a site, live or not.
type Ref interface {
	ID() bpf.SiteID
	Name() string
	// WithScaled calls f with the site's lock held, if the site is live.
	WithScaled(f func(Site))
	// TryWithScaled is that, unless somebody else has the lock: false.
	TryWithScaled(f func(Site)) bool
}

// Site is a live site whose lock is held, as far as scaling goes.
type Site struct {
	Live
	Ref  Ref
	Spec *spec.Site
	Kept **State // where the site keeps what scaling knows of it
}

// Live is what scaling does with a site.
type Live interface {
	Set() Set
	// Ask asks for so many replicas. The site may not be live any more afterwards.
	Ask(site.ScaleAsked)
	Tell(event.Event)
}

// Scaling is what is known of the site; nil while nothing serves, and when there is
// nothing to scale.
func (l Site) Scaling() *State { return *l.Kept }

// Set is a site's replicas.
type Set struct {
	Replicas []Replica // the oldest first
	Serving  int       // that get new flows, or will
	Prepared int       // that wait at their gates
}

// Replica is one of them.
type Replica struct {
	ID      site.ReplicaID
	Name    string
	State   site.State
	Spare   bool
	Serves  bool
	Started time.Time
	Group   Group       // nil: it has no container yet
	Joined  detect.Tier // on which it was a spare one; empty: it was none
	Came    detect.Tier // from which it came to serve
}

// Group is a replica's cgroup.
type Group interface {
	Apply(cgroup.Change) error
	Usage() (cgroup.Usage, error)
	Path() string
}

// Counters are those that the kernel keeps, and what it can be asked to watch.
type Counters interface {
	Replicas() (map[bpf.ReplicaID]bpf.Replica, error)
	Load([]bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error)
	LoadOf(...bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error)
	SetTrigger(bpf.SiteID, bpf.Trigger) error
	Trigger(bpf.SiteID) (bpf.TriggerState, error)
	RemoveTrigger(bpf.SiteID) error
}

// Engine scales the sites of a node.
type Engine struct {
	Options
	Metrics *metrics
	budget  *Budget
	queue   *evaluations
	loads   loadCache
	costs   actionCosts
}

// Options is what an engine stands on.
type Options struct {
	Log     *slog.Logger
	Data    Counters
	Cgroups cgroup.Host
	Has     func(controller string) bool
	Threads *priority.Threads
	Watcher *cgroup.Watcher // of what the kernel tells about cgroups
	Budget  config.Budget
	Memory  float64 // bytes that the node has; 0: not known
	Site    func(bpf.SiteID) (Ref, bool)
	Go      func(func())             // in the background
	Guard   func(bpf.SiteID, func()) // around what is done for one site: keeps a panic from the others
	Stopped func() bool
}

// New makes an engine. Close it after all that may tell it something.
func New(o Options) (_ *Engine, err error) {
	cpu, memory := float64(o.Budget.CPU), float64(o.Budget.Memory)
	if cpu == 0 {
		cpu = float64(runtime.NumCPU())
	}
	if memory == 0 {
		memory = o.Memory
	}
	if o.Guard == nil { // in tests
		o.Guard = func(_ bpf.SiteID, f func()) { f() }
	}
	g := &Engine{Options: o, Metrics: NewMetrics(), budget: newBudget(cpu, memory), queue: newEvaluations()}
	for _, d := range o.Budget.IO {
		if err := g.budget.addDisk(d); err != nil { // it may be mounted later; sites are not to wait for it
			g.Log.Error("a disk has no budget: sites may have of it what their specs allow", "error", err)
		}
	}
	if g.queue.urgentCount, err = priority.NewSem(0); err != nil {
		return nil, err
	}
	return g, nil
}

// Close frees what the engine has of the kernel.
func (g *Engine) Close() error { return g.queue.urgentCount.Close() }

// find gives one of a site's replicas.
func find(l Site, id site.ReplicaID) (Replica, bool) {
	for _, r := range l.Set().Replicas {
		if r.ID == id {
			return r, true
		}
	}
	return Replica{}, false
}
