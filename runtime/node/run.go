package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/firewall"
	"github.com/fcnode/fcnode/runtime/folders"
	"github.com/fcnode/fcnode/runtime/inside"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/network"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/priority"
	"github.com/fcnode/fcnode/runtime/resolv"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/status"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// PrepareHost mounts the BPF file system where the machine has none. It must
// run before cgroup.EnterPrivate: pins in a private mount namespace would go
// with the daemon, and the data path with them.
func PrepareHost(cfg config.Config) error {
	var st unix.Statfs_t
	if err := unix.Statfs(cfg.BPFFS, &st); err == nil && st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := os.MkdirAll(cfg.BPFFS, 0o755); err != nil {
		return fmt.Errorf("make the mount point of the BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", cfg.BPFFS, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount a BPF file system on %s (root is needed): %w", cfg.BPFFS, err)
	}
	return nil
}

// Ready is called when the node serves, with a few words about it, and with
// watchdog.Watch.Stalled.
type Ready func(status string, stalled func(limit time.Duration) string)

// Run is the daemon. It returns when ctx ends, leaving replicas and the data
// path as they are, or when it cannot start, leaving nothing half-made. ready
// is called once requests are answered.
//
// Errors: folders.ErrSecondDaemon, bpf.ErrIncompatible, and those of netctl.Setup.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, version string, ready Ready) error {
	unix.Umask(wire.Umask)
	_, err := os.Lstat(cfg.PinDir)
	first := errors.Is(err, fs.ErrNotExist)
	if cfg.CgroupRoot, err = cgroup.Root(cfg.CgroupRoot); err != nil {
		return err
	}
	mended, err := folders.Own(cfg)
	if err != nil {
		return err
	}
	locks, err := folders.Lock(ctx, cfg, true)
	if err != nil {
		return err
	}
	defer locks.Release()
	n := &Node{
		grown: make(chan struct{}, 1),
		Host: &life.Host{
			Cfg: cfg, Log: log, Now: bpf.Now,
			Sources: volume.NewComparer(cfg.VolumeRoots, cfg.SecretRoots),
			Starts:  priority.NewSlots(cfg.Start.Parallel),
			Errands: priority.NewSlots(1),
		},
		threads: priority.Threads{Log: log},
		mended:  mended,
	}
	n.table = sites.NewTable(n.Host)
	n.Finder = n.table
	n.watch.Ask = func() { n.table.Count() }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.Ctx = ctx
	n.Means = policy.Means{Prepared: cfg.Prepared.Max, Reclaim: cfg.Reclaim, CRIU: policy.NewCRIU()}
	n.Experiences = policy.OpenStore(cfg.StateDir, n.Go, n.NotKept)
	defer n.close()
	serving := false
	err = n.run(ctx, cancel, version, func(status string) {
		serving = true
		ready(status, n.watch.Stalled)
	})
	if err != nil && first && !serving {
		err = errors.Join(err, n.takeBack())
	}
	return err
}

func (n *Node) run(ctx context.Context, cancel func(), version string, ready func(string)) error {
	if err := n.open(); err != nil {
		return err
	}
	n.status = status.New(n.Host, n.table, status.Machine{Denied: n.denied.Count, Ignored: n.dp, Version: version, Attach: n.dp.Mode(), Device: n.net.DeviceIfindex(), Cgroups: n.cgroups})
	if err := n.recover(); err != nil {
		return err
	}
	return n.serve(ctx, cancel, version, ready)
}

// open opens everything that the node stands on.
func (n *Node) open() (err error) {
	cfg := n.Cfg
	if n.cgroups, err = cgroup.Detect(); err != nil {
		return err
	}
	for _, lack := range n.cgroups.Lacks {
		n.Log.Warn(lack.String())
	}
	for _, d := range folders.Damaged(cfg) {
		n.MoveAside(d.Root, d.Path, "", d.Why, d.Lost)
	}
	if n.Store, err = store.Open(stateFile(cfg), store.Options{NoCopy: n.noCopy}); err != nil {
		return err
	}
	n.Numbers = life.Numbers{Take: n.Store.ReplicaIDs, Go: n.Go, Lost: n.NoNumbers}
	n.Numbers.Reserve()
	sites.TellRecovered(n.Host, n.Store.Recovered())
	n.openEvents()
	n.openAppArmor()
	if err := n.openImages(); err != nil {
		return err
	}
	if n.NamedVolumes, err = volume.OpenStore(filepath.Join(cfg.StateDir, "volumes"), n.Log); err != nil {
		return err
	}
	n.closers = append(n.closers, n.NamedVolumes.Close)
	if err := n.Disks.Open(n.Host); err != nil {
		n.Log.Info("sites with limits.disk are watched, and stopped when they have more", "why", err)
	}
	n.closers = append(n.closers, n.Disks.Close)
	n.dp, err = bpf.Open(bpf.Options{
		PinDir: cfg.PinDir, Mode: bpf.Mode(cfg.Attach), MaxSites: uint32(cfg.MaxSites), HoldPerSite: uint32(cfg.Hold.PerSite), Log: n.Log,
		WakeSource: rate(cfg.Wake.Source), WakeSite: rate(cfg.Wake.Site), Proof: bpf.Proof(cfg.Wake.Proof), MaxFlows: uint32(cfg.Flows.Max), SiteFlows: uint32(cfg.Flows.PerSite),
	})
	if err != nil {
		return err
	}
	if n.table != nil { // else all is taken away
		if n.denied, err = sites.OpenDenied(n.Host, n.dp); err != nil { // before any packet can come
			return err
		}
		if n.table.Rules, err = network.Open(n.dp, cfg.Network, cfg.Ignore, func() []netip.Addr { return resolv.Addrs(os.ReadFile, cfg.DNS) }); err != nil {
			return err
		}
	}
	if err := n.openNet(); err != nil {
		return err
	}
	n.containers, err = container.NewManager(container.Options{
		RunnerPath: cfg.Runner, RunDir: cfg.RunDir, CgroupRoot: cfg.CgroupRoot, MemoryMax: uint64(cfg.Memory.Max), Ahead: cfg.Runners,
		VolumeRoots: append(slices.Clone(cfg.VolumeRoots), n.NamedVolumes.Dir()), SecretRoots: cfg.SecretRoots, OwnFolders: []string{cfg.StateDir, cfg.RunDir}, LogMaxSize: int64(cfg.Log.MaxSize), LogFiles: cfg.Log.Files, LogBytes: int64(cfg.Log.Rate.Bytes), LogLines: int64(cfg.Log.Rate.Lines), Log: n.Log,
		LayerDir: filepath.Join(cfg.StateDir, "replicas"), InitDir: filepath.Join(cfg.StateDir, "init"),
		CRIU: cfg.Checkpoints.CRIU, RestoreTimeout: time.Duration(cfg.Checkpoints.Timeout), Yield: n.Wakes.Yield,
		Userns: cfg.Privileges.OwnUsernsByDefault(),
		Netns: func(ctx context.Context) (container.Netns, error) {
			return life.KernelNetwork{Pool: n.net.Pool()}.Get(ctx)
		},
	})
	if err != nil {
		return err
	}
	n.parent = n.containers.Parent()
	data, err := life.NewKernelData(n.dp, n.net.ChangeAnswers)
	if err != nil {
		return err
	}
	n.Arrivals = life.OpenArrivals(n.Host, n.dp)
	n.closers = append(n.closers, n.Arrivals.Close)
	n.Data, n.Images, n.Containers, n.Net, n.Has = data, n.images, life.KernelContainers{Manager: n.containers}, life.KernelNetwork{Pool: n.net.Pool()}, n.parent.Has
	n.Means.HasMemory = n.parent.Has("memory")
	n.Budget = life.NewBudget(n.Host, func() (uint64, error) {
		m, err := n.parent.Memory()
		return m.Held(), err
	})
	n.Ahead = life.NewAhead(n.Host)
	n.Admission = life.NewAdmission(n.Host, func() (policy.MemoryLeft, error) { return policy.LeftOf(n.parent) })
	var memory float64
	if state, err := n.Means.Memory.Read(); err == nil {
		memory = float64(state.Total)
	}
	watcher, err := cgroup.NewWatcher(n.threads.Promote)
	if err != nil {
		return err
	}
	n.closers = append(n.closers, watcher.Close)
	n.Scale, err = scale.New(scale.Options{
		Watcher: watcher,
		Log:     n.Log, Data: n.dp, Cgroups: n.cgroups, Has: n.parent.Has, Threads: &n.threads, Budget: cfg.Budget, Memory: memory,
		Site: func(id bpf.SiteID) (scale.Ref, bool) { st := n.table.ByID(id); return st.Scaled(), st != nil }, Go: n.Go, Guard: n.guardSite, Stopped: n.Stopped,
	})
	if err != nil {
		return err
	}
	n.closers = append(n.closers, n.Scale.Close) // after those who may tell
	return n.dp.AttachCgroup(n.parent.Path())
}

// openEvents opens the event log, and tells what was to be told before.
func (n *Node) openEvents() {
	var err error
	if n.Eventlog, err = eventlog.Open(filepath.Join(n.Cfg.StateDir, "events"), eventlog.Options{}); err != nil {
		n.Log.Error("events are kept in memory only, until a daemon can open their files", "error", err)
		n.Eventlog = eventlog.InMemory(eventlog.Options{})
	}
	n.TellUntold()
	for _, what := range n.mended {
		n.Tell(event.Event{Kind: event.Mended, Reason: what})
	}
}

// openAppArmor has sites confined by AppArmor, where the kernel has it. Without the
// profile sites run as they do on other kernels.
func (n *Node) openAppArmor() {
	if n.table == nil {
		return // all is taken away
	}
	n.AppArmor = apparmor.Open(n.Ctx)
	if n.AppArmor.Lack != nil && n.Cfg.Privileges.AppArmor != config.AppArmorUnconfined {
		n.Tell(event.Event{Kind: event.NotConfined, Reason: n.AppArmor.Lack.Error()})
		n.Log.Warn("sites run without an AppArmor profile", "error", n.AppArmor.Lack)
	}
}

func rate(t config.Tokens) bpf.Rate {
	return bpf.Rate{Burst: uint32(t.Burst), Every: time.Duration(t.Every)}
}

func (n *Node) noCopy(err error) {
	n.Log.Error("the state file has no copy of now; a later change makes one", "error", err)
}

func (n *Node) openNet() (err error) {
	cfg := n.Cfg
	outer := cgroup.Outer() // there the sink outlives this daemon
	if outer != nil {
		n.closers = append(n.closers, outer.Close)
	}
	guarded := life.Guarded(n.Host)
	n.net, err = netctl.Setup(n.Ctx, netctl.Config{
		Device: cfg.Device, Prefixes: cfg.Prefixes, Uplinks: cfg.Uplinks, Egress: netctl.Egress(cfg.Egress), RunDir: cfg.RunDir, Pool: cfg.Pool, MountNS: outer,
		Yield: n.Wakes.Later, Guard: guarded,
		Damaged: func(err *netctl.DamagedRecordError) {
			n.MoveAside(cfg.RunDir, err.Path, "", err, "settings of the machine that fcnode changed before are not put back by teardown")
		},
	}, n.dp, n.Log)
	if err != nil {
		return err
	}
	n.firewall = &firewall.Follower{Mode: cfg.Firewall, Network: n.net, Datapath: n.dp, Log: n.Log, Tell: n.Tell, Guard: guarded}
	if err := n.firewall.Sync(); err != nil {
		return err
	}
	release, err := n.net.Release()
	if err != nil {
		return err
	}
	refuse, err := n.net.Refuse()
	if err != nil {
		return errors.Join(err, release.Close())
	}
	n.closers = append(n.closers, release.Close, refuse.Close)
	n.Holder = netctl.NewHolder(netctl.HoldConfig{
		PerSite: cfg.Hold.PerSite, Total: cfg.Hold.Total, Deadline: time.Duration(cfg.Hold.Deadline),
	}, release, refuse, netctl.Monotonic{}, func(x netctl.Expired) {
		n.Log.Warn("held clients were refused after the deadline", "site", x.Site, "packets", x.Packets)
		if err := n.dp.ClearHold(x.Site); err != nil {
			n.Log.Error("cannot reset the count of held packets", "site", x.Site, "error", err)
		}
	})
	return nil
}

// look has done what is done from time to time.
func (n *Node) look(ctx context.Context) {
	n.Go(func() { n.every(ctx, policy.Every, n.NewLadders) })
	n.Go(func() { n.every(ctx, life.CirculateLook, life.NewCirculator(n.Host).Look) })
	n.Go(func() { n.every(ctx, life.ArrivalsEvery, n.Arrivals.Read) })
	n.Go(func() { n.every(ctx, life.AheadLook, n.Ahead.Look) })
	n.Go(func() { n.Ahead.Follow(ctx) })
	n.Go(func() { n.every(ctx, life.BudgetLook, n.Budget.Look) })
	n.Go(func() { n.every(ctx, life.StallLook, n.FindStalls) })
	n.Go(func() { n.every(ctx, life.DiskLook, n.Disks.Watch) })
	n.Go(func() { n.Disks.KeepRoom(); n.every(ctx, life.DiskLook, n.Disks.KeepRoom) })
}

// serve answers until the context ends.
func (n *Node) serve(ctx context.Context, cancel func(), version string, ready func(string)) error {
	rings, err := n.dp.Rings()
	if err != nil {
		return err
	}
	listener, grouped, err := api.Listen(n.Cfg.Socket, n.Cfg.SocketGroup)
	if err != nil {
		return errors.Join(err, rings.Close())
	}
	if !grouped {
		n.Log.Info("the group that may use the socket does not exist: only root may", "group", n.Cfg.SocketGroup)
	}
	reload := make(chan os.Signal, 1) // before anybody is told that the daemon is ready: who then asks must not end it
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	answers := backend{n.table, n.denied, n.table.Kept(), sites.Files(n.table), sites.StoredImages{Host: n.Host, Store: n.images}, n.status, inside.Replicas{}, n.Host}
	answers.Replicas = inside.New(n.Host, n.table.ByName, answers.Wake)
	server := api.NewServer(answers, n.Log)
	server.Restrict(api.Access{Read: n.Cfg.Access.Read, Operate: n.Cfg.Access.Operate, Admin: n.Cfg.Access.Admin})
	failed := make(chan error, 1)
	// Without a guard of their own, as a daemon that has lost one of them must not
	// go on: what they do for a site has one.
	n.Work.Go(func() { n.readEvents(rings.Events) })
	n.Work.Go(func() { n.readHeld(rings.Held) })
	n.beat() // before anybody is told that the daemon is ready
	n.Work.Go(func() { n.keepBeating(ctx) })
	n.Work.Go(func() { n.table.Refusals().Read(rings.Refusals) })
	n.answerIgnored(ctx)
	n.Work.Go(func() { n.table.LimitedWakes().Read(rings.Limited) })
	n.Work.Go(func() { failed <- server.Serve(ctx, listener) })
	if err := n.serveMetrics(ctx, server); err != nil {
		n.Log.Error("the metrics can be had on the socket only", "error", err)
	}
	if err := n.serveRoutes(ctx, answers); err != nil {
		n.Log.Error("a gateway cannot follow the routes", "error", err)
	}

	n.keepImages(ctx)
	n.Work.Go(func() { n.firewall.Follow(ctx) }) // as above
	n.Go(func() { n.every(ctx, time.Minute, n.denied.Prune) })
	n.Go(func() { n.every(ctx, time.Minute, n.table.FollowResolvers) })
	n.look(ctx)
	n.Scale.Start(ctx, rings.Triggers)
	n.FindCRIU()
	if n.table.OwnUserns || n.Cfg.Privileges.OwnUsernsByDefault() {
		n.Containers.ExpectUserns()
	}
	n.PrepareAgain()

	for _, s := range n.table.AlwaysOn {
		if e, err := n.table.ByName(s.Name); err == nil {
			n.Guard(e, func() { n.table.KeepAwake(e, s) })
		}
	}
	n.table.AlwaysOn = nil
	n.Guard(nil, func() { _ = n.table.ApplyDir(ctx, false) }) // it tells
	n.Go(func() { sites.RunSchedules(ctx, n.table) })
	count := n.table.Count()
	n.Tell(event.Event{Kind: event.Started, Reason: fmt.Sprintf("fcnode %s, %d sites", version, count)})
	ready(fmt.Sprintf("serving %d sites", count))
	err = n.untilEnd(ctx, failed, reload)
	cancel()
	err = errors.Join(err, rings.Close())
	n.Work.Wait()
	n.Guard(nil, n.Arrivals.End) // of what came when the last work was ending, as the next
	n.Experiences.Flush()
	n.Tell(event.Event{Kind: event.Stopped, Reason: "replicas and the data path live on"})
	return err
}

// untilEnd waits for the daemon's end, and reads the specs folder anew when
// asked to by SIGHUP (systemctl reload).
func (n *Node) untilEnd(ctx context.Context, failed <-chan error, reload <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-reload:
			n.Log.Info("reading the specs folder anew", "folder", n.Cfg.SitesDir)
			n.Guard(nil, func() { _ = n.table.ApplyDir(ctx, false) }) // it tells
		}
	}
}

// close lets go of everything; what lives without the daemon lives on.
func (n *Node) close() {
	n.leaveReplicas()
	if err := n.shut(); err != nil {
		n.Log.Error("while closing", "error", err)
	}
}

// shut closes what open() has opened. Calling it again is fine.
func (n *Node) shut() error {
	var errs []error
	if n.containers != nil {
		errs = append(errs, n.containers.Close())
	}
	if n.net != nil {
		errs = append(errs, n.net.Close())
	}
	for _, c := range n.closers {
		errs = append(errs, c())
	}
	if n.dp != nil {
		errs = append(errs, n.dp.Close())
	}
	if n.images != nil {
		errs = append(errs, n.images.Close())
	}
	if n.Eventlog != nil {
		errs = append(errs, n.Eventlog.Close())
	}
	if n.Store != nil {
		errs = append(errs, n.Store.Close())
	}
	n.containers, n.net, n.closers, n.dp, n.images, n.Eventlog, n.Store = nil, nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// leaveReplicas lets go of the namespaces of replicas that live on.
func (n *Node) leaveReplicas() {
	for _, e := range n.Awake.All() {
		n.Guard(e, func() { e.With((*life.Live).Leave) })
	}
}

// every does something at intervals until the context ends; for the first time after one of them.
// A panic is that of one time.
func (n *Node) every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.Guard(nil, do)
		}
	}
}
