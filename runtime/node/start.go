package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// What is kept beside a container for the daemon that adopts it.
const (
	metaSpec  = "spec"  // digest of the spec that it was started with
	metaImage = "image" // digest of its image
	metaPorts = "ports" // the site's ports then: a port's bit in the data path is its place among them
)

func portsMeta(s *spec.Site) string {
	ports := make([]string, 0, len(s.Ports))
	for _, p := range s.Ports {
		ports = append(ports, p.String())
	}
	return strings.Join(ports, " ")
}

func replicaName(siteName string, id site.ReplicaID) string {
	return fmt.Sprintf("%s-%d", siteName, id)
}

// beginStart makes a replica in the background. The caller holds e.mu.
func (n *Node) beginStart(e *entry, act site.Start) {
	if act.From == site.TierPrepared {
		n.openGate(e, act.ID)
		return
	}
	a, id := e.active, act.ID
	ctx, cancel := context.WithCancel(n.ctx)
	r := &replica{
		id: id, name: replicaName(e.name, id), started: time.Now(), cancel: cancel, trace: a.trace,
		woken: n.wakes.begin(),
	}
	a.trace = nil
	if r.trace == nil {
		r.trace = newTrace(e.name, bpf.Now(), api.StepAsked)
	}
	r.trace.replica(r.name)
	a.replicas[id] = r
	trace, s := r.trace, a.spec // r's is gone with the first byte, which may come before start returns
	n.work.Go(func() {
		defer cancel()
		ctr, err := n.start(ctx, e, r, trace, s)
		n.started(e, r, ctr, err)
	})
}

// start does the slow part: image, network namespace, data path, container. On
// an error nothing of it is left but what r names, which started() takes away.
func (n *Node) start(ctx context.Context, e *entry, r *replica, trace *wakeTrace, s *spec.Site) (*container.Container, error) {
	if err := n.takeTurn(ctx, e, r, n.startTimeout(s)); err != nil {
		return nil, err
	}
	ctr, err := n.startWithin(ctx, e, r, trace, s)
	if errors.Is(err, errNotRestored) && ctx.Err() == nil { // once: there is no image any more
		n.startAnew(e, r, n.startTimeout(s))
		ctr, err = n.startWithin(ctx, e, r, trace, s)
	}
	return ctr, err
}

// errNotRestored means that nothing came of a restore, and that a cold start may do better.
var errNotRestored = errors.New("the site could not be restored")

// startAnew gives the cold start after a restore that failed all of its time, and
// a place of its own: what the restore has left in the other is not for it.
func (n *Node) startAnew(e *entry, r *replica, timeout time.Duration) {
	n.forget(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	r.ns, r.kernel = nil, bpf.Replica{}
	if !r.stopping && e.active != nil {
		n.armStart(e, r.id, timeout)
	}
}

// startWithin bounds startNow.
func (n *Node) startWithin(ctx context.Context, e *entry, r *replica, trace *wakeTrace, s *spec.Site) (*container.Container, error) {
	within, cancel := context.WithTimeout(ctx, n.startTimeout(s))
	defer cancel()
	ctr, err := n.startNow(within, e, r, trace, s)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		// The site's machine has a timer for the same time: whichever is first, people read the same.
		err = fmt.Errorf("nobody listened on its ports within %s: %w", n.startTimeout(s), err)
	}
	return ctr, err
}

// startNow does so when the replica has its turn.
func (n *Node) startNow(ctx context.Context, e *entry, r *replica, trace *wakeTrace, s *spec.Site) (*container.Container, error) {
	with, err := n.place(ctx, e, r, s)
	if err != nil {
		return nil, err
	}
	trace.mark(api.StepPrepared, bpf.Now())
	ctr, placed := n.restoreInstead(ctx, e, r, trace, s, with)
	if ctr != nil {
		return ctr, nil
	}
	if !placed {
		return nil, errNotRestored
	}
	ctr, timing, err := n.containers.Start(ctx, with)
	if err != nil {
		return nil, err
	}
	trace.marks(timing)
	return ctr, nil
}

// place gives a replica its image and network namespace, tells the data path
// of it, and returns what its container is to be.
func (n *Node) place(ctx context.Context, e *entry, r *replica, s *spec.Site) (with container.Spec, err error) {
	img, err := n.images.Resolve(ctx, s.Image)
	if err != nil {
		return with, fmt.Errorf("image: %w", err)
	}
	e.mu.Lock()
	r.image = img.Digest
	e.mu.Unlock()
	args := s.Args(img.Config.Entrypoint, img.Config.Cmd)
	if len(args) == 0 {
		return with, fmt.Errorf("the image %s has no entrypoint and no command, and neither has the spec: set command in the spec", s.Image)
	}
	ns, err := n.net.Pool().Get(ctx)
	if err != nil {
		return with, err
	}
	r.ns = ns
	if err := ns.Assign(e.addrs()...); err != nil {
		return with, err
	}
	r.kernel = bpf.Replica{
		Site: e.id, Ifindex: ns.HostIfindex(), NSID: ns.NSID(), Cookie: ns.Cookie(), VIP4: e.addr4, VIP6: e.addr6,
	}
	if err := n.dp.AddReplica(bpf.ReplicaID(r.id), r.kernel); err != nil {
		return with, err
	}
	return container.Spec{
		ID: r.name, Site: e.name,
		Lower: img.Lower,
		Upper: filepath.Join(n.cfg.StateDir, "replicas", r.name, "upper"),
		Work:  filepath.Join(n.cfg.StateDir, "replicas", r.name, "work"),
		Args:  args, Env: environment(img.Config.Env, s.Env),
		Cwd: firstOf(s.Workdir, img.Config.WorkingDir, "/"), User: firstOf(string(s.User), img.Config.User),
		Hostname: s.Hostname, Mounts: mounts(s.Volumes), ResolvConf: resolvConf(), Hosts: hostsFile(s.Hostname, e.addrs()),
		Netns: ns.FD(), Limits: n.startLimits(e, s), LogDir: n.logDir(e.name),
		StopSignal: firstOf(s.Stop.Signal, img.Config.StopSignal), ReadOnlyRoot: s.ReadOnlyRoot,
		Meta: map[string]string{metaSpec: s.Digest(), metaImage: img.Digest, metaPorts: portsMeta(s)},
	}, nil
}

// started takes the outcome of a start to the machine.
func (n *Node) started(e *entry, r *replica, ctr *container.Container, err error) {
	if err != nil {
		n.forget(r)
		e.mu.Lock()
		defer e.mu.Unlock()
		r.endWake()
		if r.trace != nil {
			n.endTrace(r.trace, api.ResultFailed, err.Error())
			r.trace = nil
		}
		delete(e.active.replicas, r.id)
		n.handle(e, site.StartFailed{ID: r.id, Reason: err.Error()})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.ctr = ctr
	e.active.notify()
	n.work.Go(func() { n.watch(e, r) })
	if r.restoring {
		r.restoring = false
		n.restored(e, r)
	}
	if r.stopping {
		n.stopContainer(e, r)
	}
}

// watch waits for a replica's end, or for the daemon's.
func (n *Node) watch(e *entry, r *replica) {
	select {
	case <-r.ctr.Exited():
	case <-n.ctx.Done():
		return // the container lives on; the next daemon adopts it
	}
	reason := "exited"
	if st, ok := r.ctr.Exit(); ok {
		reason = describe(st)
	}
	e.mu.Lock()
	r.endWake()
	n.endedUnproven(e, r, reason)
	// First the data path learns that it is gone, then its belongings go.
	n.handle(e, site.ReplicaExited{ID: r.id, Reason: reason})
	if r.trace != nil { // it was woken, and no visitor came
		n.endTrace(r.trace, api.ResultOK, "")
		r.trace = nil
	}
	dumped := r.dumped
	e.mu.Unlock()

	n.tidy(e, r, dumped)

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active != nil {
		n.imaged(e, r)
		delete(e.active.replicas, r.id)
		e.active.notify()
		n.settle(e)
	}
}

// tidy takes away what belongs to a replica that has ended, when it disturbs
// nobody. What the next wake of its site needs does not wait: the rest of its
// image.
func (n *Node) tidy(e *entry, r *replica, dumped bool) {
	if dumped {
		n.removeContainer(r)
		e.mu.Lock()
		if e.active != nil {
			n.imaged(e, r)
			e.active.notify()
		}
		e.mu.Unlock()
	}
	n.wakes.later(n.ctx.Done())
	if !dumped {
		n.removeContainer(r)
	}
	n.forgetPlace(r)
}

// describe says in a few words how a container ended.
func describe(st container.ExitStatus) string {
	switch {
	case st.MonitorLost:
		return "its monitor process was killed, and it with it"
	case st.OOMKilled:
		return "killed by the kernel for lack of memory (limits.memory.max)"
	case st.Failed != "":
		return st.Failed
	case st.Signal != "":
		return "ended by " + st.Signal
	}
	return fmt.Sprintf("exit code %d", st.Code)
}

// forget takes away what belongs to a replica that runs no more.
func (n *Node) forget(r *replica) {
	n.forgetPlace(r)
	if r.ctr != nil {
		n.removeContainer(r)
	}
}

// forgetPlace takes away a replica's place in the data path and in the network.
func (n *Node) forgetPlace(r *replica) {
	if r.kernel.Site != 0 {
		n.notTidy(r, "data path", n.dp.RemoveReplica(bpf.ReplicaID(r.id), r.kernel))
	}
	if r.ns != nil {
		n.notTidy(r, "network namespace", r.ns.Close())
	}
}

func (n *Node) removeContainer(r *replica) { n.notTidy(r, "files", n.containers.Remove(r.name)) }

func (n *Node) notTidy(r *replica, what string, err error) {
	if err != nil {
		n.log.Error("cannot clean up after a replica", "replica", r.name, "what", what, "error", err)
	}
}

// beginStop ends a replica in the background. The caller holds e.mu.
func (n *Node) beginStop(e *entry, act site.Stop) {
	r := e.active.replicas[act.ID]
	if r == nil || r.stopping {
		return
	}
	r.stopping, r.kill = true, act.Kill
	if r.ctr == nil {
		r.cancel() // answered by StartFailed, or by started() if it was quicker
		return
	}
	n.stopContainer(e, r)
}

// stopContainer asks the container to end; watch() reports it. The caller
// holds e.mu.
func (n *Node) stopContainer(e *entry, r *replica) {
	grace := time.Duration(e.active.spec.Stop.Grace)
	// Neither waited for nor cut short when the daemon ends: the container has
	// its grace, and the next daemon finds out what became of it.
	kill := r.kill
	settled := r.callBack()
	go func() {
		settled()
		ctx := context.WithoutCancel(n.ctx)
		stop := r.ctr.Stop
		if kill {
			stop = func(ctx context.Context, _ time.Duration) error { return r.ctr.Kill(ctx) }
		}
		if err := stop(ctx, grace); err != nil {
			n.log.Error("cannot stop a container; killing it", "replica", r.name, "error", err)
			if err := r.ctr.Kill(ctx); err != nil {
				n.log.Error("cannot kill a container", "replica", r.name, "error", err)
			}
		}
	}()
}

// environment is the image's with the spec's over it; PATH is always there, as
// a command without a slash is looked up by it.
func environment(image []string, own map[string]string) []string {
	out := make([]string, 0, len(image)+len(own)+1)
	hasPath := false
	for _, kv := range image {
		name, _, _ := strings.Cut(kv, "=")
		if _, replaced := own[name]; replaced {
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

func mounts(volumes []spec.Volume) []container.Mount {
	out := make([]container.Mount, 0, len(volumes))
	for _, v := range volumes {
		out = append(out, container.Mount{
			Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Suid: v.Suid, Dev: v.Dev, NoExec: v.NoExec,
		})
	}
	return out
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
