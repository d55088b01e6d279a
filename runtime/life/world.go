package life

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/volume"
)

// What sites stand on. The interfaces are what package life needs of it, so that
// whole lives run in unit tests.

// DataPath is what the kernel is told of sites and replicas, and asked about them.
type DataPath interface {
	AddReplica(bpf.ReplicaID, bpf.Replica) error
	RemoveReplica(bpf.ReplicaID, bpf.Replica) error
	SetSite(bpf.SiteID, bpf.Site) error
	ParkSite(bpf.SiteID) error
	ClearHold(bpf.SiteID) error
	SetAsleep(bpf.ReplicaID, bool) error
	WatchEmpty(id bpf.ReplicaID, on bool) (conns uint64, err error)
	BeginWake(bpf.ReplicaID) error
	OpenReplica(bpf.ReplicaID) error
	TakePorts(bpf.ReplicaID) (ready4, ready6 uint32, err error)
	Stats(bpf.ReplicaID) (bpf.ReplicaStats, error)
	Flows(bpf.ReplicaID) (bpf.Flows, error)
	Listens(bpf.ReplicaID, bpf.Listener) (bool, error)
	LoadOf(...bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error)
	Load([]bpf.ReplicaID) (map[bpf.ReplicaID]bpf.Load, error)
	Counters() (map[string]uint64, error)
	Listeners() (map[bpf.Listener]bpf.ListenerSite, error)
	PutListeners(map[bpf.Listener]bpf.ListenerSite) error
	DeleteListeners(...bpf.Listener) error
}

// Holder keeps the packets of visitors whose site wakes.
type Holder interface {
	Add(p bpf.HeldPacket, within time.Duration) (first bool, err error)
	ReleaseIf(id bpf.SiteID, ready func(vip netip.AddrPort, proto bpf.Proto, proven bool) bool) (n int, oldest uint64, err error)
	// Holds says whether a packet of the site is held.
	Holds(id bpf.SiteID) bool
	Refuse(bpf.SiteID) (n int, err error)
}

// Network gives each replica a network namespace.
type Network interface {
	Get(context.Context) (Namespace, error)
}

// Namespace is a replica's network namespace.
type Namespace interface {
	FD() *os.File
	Cookie() uint64
	NSID() int
	HostIfindex() int
	Assign(...netip.Addr) error
	Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	Listeners() ([]string, error)
	OwnConns() ([]netctl.OwnConn, error)
	ExpectCookies(at netip.AddrPort) error
	Close() error
	Leave() error
}

// Images resolves what specs name.
type Images interface {
	Resolve(ctx context.Context, ref string) (*image.Image, error)
	Get(digest string) (*image.Image, error)
}

// Containers makes containers.
type Containers interface {
	Start(context.Context, container.Spec) (Container, container.Timing, error)
	Restore(ctx context.Context, with container.Spec, dir string) (Container, container.Timing, error)
	Prepare(context.Context, container.Spec) (Prepared, error)
	Remove(id string) error
	CRIU(context.Context) (*criu.Tool, error)
	ExpectRestores(context.Context) error
	// Place gives a network namespace in which a runner, or CRIU, waits for a container with
	// a user namespace of its own; nil: nothing does.
	Place(restores bool) Namespace
	ExpectUserns()
}

// Prepared is a container that waits at its gate.
type Prepared interface {
	Memory() uint64
	Sources() []volume.Source
	Gone() <-chan struct{}
	Open(context.Context) (Container, container.Timing, error)
	Discard() error
}

// Container is a replica's container.
type Container interface {
	ID() string
	Created() time.Time
	Group() Group
	Meta() map[string]string
	Sources() []volume.Source
	Pid() int
	Exited() <-chan struct{}
	Exit() (container.ExitStatus, bool)
	Stop(ctx context.Context, grace time.Duration) error
	Kill(context.Context) error
	Checkpoint(ctx context.Context, dir string, o container.CheckpointOptions) (criu.Manifest, error)
	Preflight() ([]criu.Finding, error)
	Exec(context.Context, container.ExecSpec) (*container.ExecProcess, error)
}

// Group is a container's cgroup.
type Group interface {
	scale.Group
	Freeze(context.Context) error
	Thaw(context.Context) error
	BeginThaw() error
	Frozen() (bool, error)
	Reclaim(ctx context.Context, bytes uint64) (reclaimed uint64, err error)
	MemoryCurrent() (uint64, error)
}

// KernelNetwork is the real one.
type KernelNetwork struct{ *netctl.Pool }

// Get implements Network.
func (n KernelNetwork) Get(ctx context.Context) (Namespace, error) {
	ns, err := n.Pool.Get(ctx)
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// KernelContainers are the real ones.
type KernelContainers struct{ *container.Manager }

// KernelContainer is a real one.
type KernelContainer struct{ *container.Container }

// Group implements Container.
func (c KernelContainer) Group() Group { return c.Container.Group() }

// Place implements Containers.
func (k KernelContainers) Place(restores bool) Namespace {
	p := k.TakePlace(restores)
	if p == nil {
		return nil
	}
	return waitedIn{Namespace: p.Netns.(Namespace), place: p}
}

// waitedIn is a namespace in which something waits, unless it has become the container.
type waitedIn struct {
	Namespace
	place *container.Place
}

// Close implements Namespace.
func (p waitedIn) Close() error { return p.place.Close() }

type kernelPrepared struct{ *container.Prepared }

func made(c *container.Container, t container.Timing, err error) (Container, container.Timing, error) {
	if err != nil {
		return nil, t, err
	}
	return KernelContainer{c}, t, nil
}

// Start implements Containers.
func (k KernelContainers) Start(ctx context.Context, with container.Spec) (Container, container.Timing, error) {
	return made(k.Manager.Start(ctx, with))
}

// Restore implements Containers.
func (k KernelContainers) Restore(ctx context.Context, with container.Spec, dir string) (Container, container.Timing, error) {
	return made(k.Manager.Restore(ctx, with, dir))
}

// Prepare implements Containers.
func (k KernelContainers) Prepare(ctx context.Context, with container.Spec) (Prepared, error) {
	p, _, err := k.Manager.Prepare(ctx, with)
	if err != nil {
		return nil, err
	}
	return kernelPrepared{p}, nil
}

func (p kernelPrepared) Open(ctx context.Context) (Container, container.Timing, error) {
	return made(p.Prepared.Open(ctx))
}
