package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/resolv"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// What is kept beside a container for the daemon that adopts it.
const (
	metaSpec  = "spec"  // digest of the spec that it was started with
	metaImage = "image" // digest of its image
	metaPorts = "ports" // the site's ports then: a port's bit in the data path is its place among them

	metaVolumes = "volumes" // names of those that the node keeps
	metaBorn    = "born"    // when the processes of a restored one were started, by RFC 3339
)

func portsMeta(s *spec.Site) string {
	ports := make([]string, 0, len(s.Ports))
	for _, p := range s.Ports {
		ports = append(ports, p.String())
	}
	return strings.Join(ports, " ")
}

// beginStart makes a replica in the background.
func (l *Live) beginStart(act site.Start) {
	if act.From == detect.TierPrepared {
		l.openGate(act.ID)
		return
	}
	a, id := l.Activity, act.ID
	ctx, cancel := context.WithCancel(l.Host.Ctx)
	r := &Replica{
		ID: id, Name: l.nextName(id), Started: time.Now(), pinned: l.Pinned.Value(), cancel: cancel, trace: a.trace,
		woken: l.Host.Wakes.Begin(), stall: &stall{},
	}
	a.trace = nil
	if r.trace == nil {
		r.trace = l.newTrace(l.Host.Now(), event.StepAsked)
	}
	r.trace.replica(r.Name)
	a.Replicas[id] = r
	trace, s, st := r.trace, a.Spec, l.Site // r's trace is gone with the first byte, which may come before start returns
	st.goKeep(r, func() {
		defer cancel()
		ctr, err := st.start(ctx, r, trace, s)
		st.started(r, ctr, err)
	})
}

// start does the slow part: image, network namespace, data path, container. On
// an error nothing of it is left but what r names, which started() takes away.
func (st *Site) start(ctx context.Context, r *Replica, trace *wakeTrace, s *spec.Site) (Container, error) {
	if err := serversAnswer(ctx, st.Host, s); err != nil {
		return nil, err
	}
	if err := st.takeTurn(ctx, r, trace, s); err != nil {
		return nil, err
	}
	ctr, err := st.startWithin(ctx, r, trace, s)
	if errors.Is(err, errNotRestored) && ctx.Err() == nil { // once: there is no image any more
		st.startAnew(r, st.Host.startTimeout(s))
		ctr, err = st.startWithin(ctx, r, trace, s)
	}
	if noSpace(err) && ctx.Err() == nil && st.Host.Disks.makeRoom(ctx) {
		st.startAnew(r, st.Host.startTimeout(s))
		ctr, err = st.startWithin(ctx, r, trace, s)
	}
	return ctr, err
}

// errNotRestored means that nothing came of a restore, and that a cold start may do better.
var errNotRestored = errors.New("the site could not be restored")

// startAnew gives the cold start after a restore that failed all of its time, and
// a place of its own: what the restore has left in the other is not for it.
func (st *Site) startAnew(r *Replica, timeout time.Duration) {
	st.Host.cleanUp(r)
	st.With(func(l *Live) {
		r.ns, r.kernel = nil, bpf.Replica{}
		if !r.stopping && l.Activity != nil {
			l.armStart(r.ID, timeout)
		}
	})
}

// startWithin bounds startNow.
func (st *Site) startWithin(ctx context.Context, r *Replica, trace *wakeTrace, s *spec.Site) (Container, error) {
	within, cancel := context.WithTimeout(ctx, st.Host.startTimeout(s))
	defer cancel()
	ctr, err := st.startNow(within, r, trace, s)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		// The site's machine has a timer for the same time: whichever is first, people read the same.
		err = fmt.Errorf("nobody listened on its ports within %s: %w", st.Host.startTimeout(s), err)
	}
	return ctr, err
}

// startNow does so when the replica has its turn.
func (st *Site) startNow(ctx context.Context, r *Replica, trace *wakeTrace, s *spec.Site) (Container, error) {
	if err := st.Host.Disks.refuses(st.Name); err != nil {
		return nil, err
	}
	with, err := st.place(ctx, r, s)
	if err != nil {
		return nil, err
	}
	trace.mark(event.StepPrepared, st.Host.Now())
	ctr, placed := st.restoreInstead(ctx, r, trace, s, with)
	if ctr != nil {
		return ctr, nil
	}
	if !placed {
		return nil, errNotRestored
	}
	ctx, cancel := outliving(ctx, st.Host)
	defer cancel()
	ctr, timing, err := st.Host.Containers.Start(ctx, with)
	if err != nil {
		return nil, err
	}
	trace.marks(timing)
	return ctr, nil
}

// place gives a replica its image and network namespace, tells the data path
// of it, and returns what its container is to be.
func (st *Site) place(ctx context.Context, r *Replica, s *spec.Site) (with container.Spec, err error) {
	img, err := st.imageFor(ctx, r, s)
	if err != nil {
		return with, fmt.Errorf("image: %w", err)
	}
	st.With(func(*Live) { r.closed = s.Ready.Asks() })
	if len(s.Args(img.Config.Entrypoint, img.Config.Cmd)) == 0 {
		return with, fmt.Errorf("the image %s has no entrypoint and no command, and neither has the spec: set command in the spec", s.Image)
	}
	if err := WithinMost(st.Host.Cfg, s); err != nil {
		return with, err
	}
	profile, err := Profile(st.Host.Cfg.Privileges, st.Host.AppArmor, s)
	if err == nil && profile != "" && profile == st.Host.AppArmor.Own {
		err = apparmor.Ensure(ctx)
	}
	if err != nil {
		return with, err
	}
	mounts, err := st.Host.Mounts(ctx, s, img)
	if err == nil {
		err = reachServers(ctx, mounts, nfsWithin(st.Host, s))
	}
	if err != nil {
		return with, err
	}
	ns, err := namespaceFor(ctx, st, s)
	if err != nil {
		return with, err
	}
	r.ns = ns
	if err := ns.Assign(st.Addrs()...); err != nil {
		return with, err
	}
	r.kernel = bpf.Replica{
		Site: st.ID, Ifindex: ns.HostIfindex(), NSID: ns.NSID(), Cookie: ns.Cookie(), VIP4: st.Addr4, VIP6: st.Addr6,
		Closed: s.Ready.Asks(), Keepalive: s.Keepalive.Or(st.Host.Cfg.Keepalive), UDPIdle: s.UDPIdle.Or(st.Host.Cfg.UDPIdle),
	}
	if err := st.Host.Data.AddReplica(bpf.ReplicaID(r.ID), r.kernel); err != nil {
		return with, err
	}
	dir := layerDir(r, st.Host.Cfg.StateDir)
	if err := st.Host.Disks.bound(s, dir); err != nil {
		return with, fmt.Errorf("limits.disk: %w", err)
	}
	with = programOf(st.Host.Cfg, s, img)
	with.ID, with.Site = r.containerID(), st.Name
	with.Upper, with.Work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	with.SecretEnv = secretVariables(st.Host.Cfg.SecretRoots, s)
	with.Privileges = container.Privileges{Capabilities: s.Capabilities.Names(), New: s.NewPrivileges(), AppArmor: profile}
	with.Hostname, with.Init = s.Hostname, s.Init
	with.Mounts, with.ResolvConf = mounts, resolv.Conf(os.ReadFile, st.Host.Cfg.DNS, s.DNS)
	with.Hosts = resolv.Hosts(s.Hostname, st.Addrs(), s.ExtraHosts)
	with.Netns, with.Limits, with.LogDir = ns.FD(), st.Host.Scale.StartLimits(st.ID, s), st.Host.LogDir(st.Name)
	with.ReadOnlyRoot, with.ShmSize = s.ReadOnlyRoot, int64(s.ShmSize)
	with.Meta = map[string]string{metaSpec: s.Digest(), metaImage: img.Digest, metaPorts: portsMeta(s), metaVolumes: namedVolumes(mounts, st.Host.NamedVolumes.Dir())}
	return with, nil
}

// namespaceFor gives a replica its network namespace: one in which something waits for
// it, for its restore if there is an image, where that has to be.
func namespaceFor(ctx context.Context, st *Site, s *spec.Site) (Namespace, error) {
	if st.Host.Cfg.Privileges.OwnUserns(s) {
		image := false
		st.With(func(l *Live) { image = l.Image })
		if ns := st.Host.Containers.Place(image); ns != nil {
			return ns, nil
		}
	}
	return st.Host.Net.Get(ctx)
}

// started takes the outcome of a start to the machine.
func (st *Site) started(r *Replica, ctr Container, err error) {
	if err != nil {
		st.CountEnded(r.ID)
		st.Host.cleanUp(r)
	}
	st.With(func(l *Live) {
		if err != nil {
			r.endWake()
			if l.Host.Stopped() {
				r.remove(l) // who waits for it is the next daemon's visitor
				return
			}
			if r.trace != nil {
				st.Host.endTrace(r.trace, event.ResultFailed, err.Error())
				r.trace = nil
			}
			l.handle(site.StartFailed{ID: r.ID, Reason: err.Error()})
			r.remove(l)
			return
		}
		r.Ctr = ctr
		r.sources = theirs(ctr.Sources(), st.Host.NamedVolumes.Dir())
		st.goKeep(r, func() { st.watch(r) })
		if l.Activity == nil { // quarantined meanwhile
			st.Host.stopContainer(st, r, l.left.Spec)
			return
		}
		l.notify()
		if r.restoring {
			r.restoring = false
			r.restored(l)
		}
		if r.stopping {
			st.Host.stopContainer(st, r, l.Spec)
		}
	})
}

// watch waits for a replica's end, or for the daemon's.
func (st *Site) watch(r *Replica) {
	select {
	case <-r.Ctr.Exited():
	case <-st.Host.Ctx.Done():
		return // the container lives on; the next daemon adopts it
	}
	reason := "exited"
	if st, ok := r.Ctr.Exit(); ok {
		reason = Describe(st)
	}
	dumped, soon := false, false
	if !st.IsLive() {
		st.countEnded(r.ID)
	}
	st.With(func(l *Live) {
		reason = FirstOf(r.ousted, reason)
		r.endWake()
		r.proof.ended(l, reason)
		if l.Activity != nil {
			countEnded(l, l.experience, r.ID) // as those who read the counters do not see it any more after this
		}
		if exit, ok := r.Ctr.Exit(); ok && exit.OOMKilled && l.Activity != nil {
			l.Host.Tell(OutOfMemory(l.Name, r.Name, l.Spec))
		}
		// First the data path learns that it is gone, then its belongings go.
		l.handle(site.ReplicaExited{ID: r.ID, Reason: reason})
		if r.trace != nil { // it was woken, and no visitor came
			st.Host.endTrace(r.trace, event.ResultOK, "")
			r.trace = nil
		}
		dumped, soon = r.dumped, r.ousted != ""
	})
	st.tidy(r, dumped, soon)
	r.imaged(st)
	st.With(r.remove)
}

// tidy takes away what belongs to a replica that has ended, when it disturbs
// nobody. What the next wake of its site needs does not wait: the rest of its
// image. What fills the disk does not wait either.
func (st *Site) tidy(r *Replica, dumped, soon bool) {
	if dumped || soon {
		st.Host.removeContainer(r)
		r.imaged(st)
	}
	st.Host.Wakes.Later(st.Host.Ctx.Done())
	if !dumped && !soon {
		st.Host.removeContainer(r)
	}
	st.Host.Experiences.Sync(st.Name)
	st.Host.cleanUpPlace(r)
}

// Describe says in a few words how a container ended.
func Describe(st container.ExitStatus) string {
	switch {
	case st.MonitorLost:
		return "its monitor process was killed, and it with it"
	case st.OOMKilled:
		return "killed by the kernel for lack of memory, with all of its processes"
	case st.Failed != "":
		return st.Failed
	case st.Signal == "SIGSYS" || st.Code == badSystemCall:
		return "ended by SIGSYS: a program made a system call that sites are refused" + sayArchitectures()
	case st.Signal != "":
		return "ended by " + st.Signal
	}
	return fmt.Sprintf("exit code %d", st.Code)
}

// badSystemCall is the exit code of a shell whose program SIGSYS has ended.
const badSystemCall = 128 + int(unix.SIGSYS)

// sayArchitectures is what helps where it was a 32-bit program; "": there are none here.
func sayArchitectures() string {
	runs := spec.RunsOn(runtime.GOARCH)
	if len(runs) < 2 {
		return ""
	}
	return "; if it is a 32-bit program, add architectures: [" + strings.Join(runs, ", ") + "] to the spec"
}

// OutOfMemory tells that the kernel has ended a replica for lack of memory.
func OutOfMemory(name, replica string, s *spec.Site) event.Event {
	most := s.Limits.Memory.Max
	reason := fmt.Sprintf("limits.memory.max of the site, %s, was reached", most)
	if most == 0 {
		reason = "the node had no memory left, and the site has no limits.memory.max"
	}
	return event.Event{Site: name, Replica: replica, Kind: event.OutOfMemory, Reason: reason, Fields: map[string]any{"max": uint64(most)}}
}

// beginStop ends a replica in the background.
func (l *Live) beginStop(act site.Stop) {
	r := l.Replicas[act.ID]
	if r == nil || r.stopping {
		return
	}
	r.stopping, r.kill = true, act.Kill
	if r.Ctr == nil {
		r.cancel() // answered by StartFailed, or by started() if it was quicker
		return
	}
	l.Host.stopContainer(l.Site, r, l.Spec)
}

// stopContainer asks the container to end; watch() reports it.
func (h *Host) stopContainer(st *Site, r *Replica, s *spec.Site) {
	grace := time.Duration(s.Stop.Grace)
	// Neither waited for nor cut short when the daemon ends: the container has
	// its grace, and the next daemon finds out what became of it.
	kill := r.kill
	thawable := r.callBack()
	end := func() {
		thawable()
		ctx := context.WithoutCancel(h.Ctx)
		if !kill {
			_ = stoppable(ctx, st, r) // its context does not end
		}
		stop := r.Ctr.Stop
		if kill {
			stop = func(ctx context.Context, _ time.Duration) error { return r.Ctr.Kill(ctx) }
		}
		var err error
		if fault := guard.Run(func() { err = stop(ctx, grace) }); fault != nil {
			h.panicked(fault)
			err = fault
		}
		if err != nil {
			h.Log.Error("cannot stop a container; killing it", "replica", r.Name, "error", err)
			if err := r.Ctr.Kill(ctx); err != nil {
				h.Log.Error("cannot kill a container", "replica", r.Name, "error", err)
			}
		}
	}
	go h.Guard(nil, end)
}

// Environment is the image's with the spec's over it, and without what the spec has
// a secret for; PATH is always there, as a command without a slash is looked up
// by it.
func Environment(image []string, s *spec.Site) []string {
	own := s.Env
	out := make([]string, 0, len(image)+len(own)+1)
	hasPath := false
	for _, kv := range image {
		name, _, _ := strings.Cut(kv, "=")
		secret := func(v spec.Secret) bool { return v.Env == name }
		if _, replaced := own[name]; replaced || slices.ContainsFunc(s.Secrets, secret) {
			continue
		}
		hasPath = hasPath || name == "PATH"
		out = append(out, kv)
	}
	names := make([]string, 0, len(own))
	for name := range own {
		names = append(names, name)
		hasPath = hasPath || name == "PATH"
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, name+"="+own[name])
	}
	if !hasPath {
		out = append(out, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return out
}

// FirstOf is the first value that is not empty.
func FirstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// cleanUp takes away what belongs to a replica that runs no more.
func (h *Host) cleanUp(r *Replica) {
	h.cleanUpPlace(r)
	if r.Ctr != nil {
		h.removeContainer(r)
	}
}

// cleanUpPlace takes away a replica's place in the data path and in the network.
func (h *Host) cleanUpPlace(r *Replica) {
	if r.kernel.Site != 0 {
		h.notTidy(r, "data path", h.Data.RemoveReplica(bpf.ReplicaID(r.ID), r.kernel))
	}
	if r.ns != nil {
		h.notTidy(r, "network namespace", r.ns.Close())
	}
}

func (h *Host) removeContainer(r *Replica) { h.notTidy(r, "files", h.Containers.Remove(r.Ctr.ID())) }

func (h *Host) notTidy(r *Replica, what string, err error) {
	if err != nil {
		h.Log.Error("cannot clean up after a replica", "replica", r.Name, "what", what, "error", err)
	}
}
