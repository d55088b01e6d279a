package shim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/monitor"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// restorer is a shim that makes its container from a checkpoint.
type restorer struct {
	*shim
	conn    *net.UnixConn // to the daemon
	session *criu.Session
	stage   *net.UnixConn
	tool    *criu.Tool
	req     wire.RestoreRequest
	held    *os.File // the checkpoint's folder, which nobody removes meanwhile
	steps   []wire.Step

	mapping   *volume.Mapping // of a container with a user namespace of its own
	ownImages *os.File        // and its image as that sees it
	sources   []volume.Source
	verdict   func() error // on the image's memory
	recorded  func() error // for libcontainer; nil before the container's init is born
}

// RunRestore waits for a request to restore a container, carries it out and becomes the
// monitor of the container. It returns when there is none, or when the daemon is gone without
// a request. Call it on the first thread of the process, which is to stay locked.
func RunRestore(opts Options, criuPath string) error {
	if err := opts.sameVersion(); err != nil {
		return errors.Join(err, tell(opts.Socket, err))
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	dir, err := os.OpenFile(opts.Cgroup, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("opening the replica's cgroup: %w", err)
	}
	r := &restorer{shim: &shim{opts: opts, cgroup: dir}, tool: &criu.Tool{Path: criuPath}}
	defer r.cleanUp()
	r.handleSignals()
	if r.conn, err = wire.Conn(opts.Socket); err != nil {
		return err
	}
	if err := r.startStage(); err != nil {
		return r.answer(wire.StartReply{}, err)
	}
	r.setMaker(r.session.Pid())
	netns, err := r.wait()
	if err != nil || netns == nil {
		r.end()
		return err
	}
	return r.run(netns)
}

// wait waits for CRIU and for a request; without one it gives nil.
func (r *restorer) wait() (*os.File, error) {
	if err := staged(r.stage); err != nil {
		return nil, r.answer(wire.StartReply{}, err)
	}
	fds, err := wire.Recv(r.conn, &r.req)
	if isEOF(err) {
		return nil, nil // the daemon is gone, or does not need this one
	}
	if err == nil && len(fds) != 2 {
		err = fmt.Errorf("the request came with %d descriptors instead of the network namespace and the checkpoint", len(fds))
	}
	if err != nil {
		return nil, r.answer(wire.StartReply{}, err)
	}
	r.held = fds[1]
	r.step("received")
	return fds[0], nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func (r *restorer) run(netns *os.File) error {
	r.monitor = r.req.Monitor
	r.verdict = r.verify()
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.req.Timeout,
		fmt.Errorf("%w: it was not over within %s", criu.ErrRestore, r.req.Timeout))
	defer cancel()
	go func() {
		if r.verdict() != nil {
			cancel() // CRIU need not find out by itself, or wait for what is not there
		}
	}()
	init, err := r.restore(ctx, netns)
	if err != nil {
		err = r.orDamaged(err)
		r.end()
		r.drain()
		r.spent() // a second restore of it is not allowed
		failed := wire.WriteFile(r.req.Dir, wire.ExitFile, wire.Exit{Code: -1, At: time.Now(), Failed: err.Error()})
		return errors.Join(r.answer(wire.StartReply{}, err), failed)
	}
	r.setInit(init.Pid)
	_ = r.answer(wire.StartReply{Init: init}, nil) // a daemon that died finds init.json
	_ = r.conn.Close()                             // nothing more is said
	if r.lazy == nil {
		r.spent()
		return r.become(monitor.Pages{})
	}
	return r.become(monitor.Pages{
		Server: r.lazy.server.Pid(), Patience: r.req.Timeout, Marker: r.lazy.marker, Spent: r.req.Spent,
		Checkpoint: r.held, Held: r.lazy.held,
	})
}

// spent removes the images when they are not needed any more; what a crash
// leaves is swept by the next daemon.
func (r *restorer) spent() {
	if r.req.Spent != "" {
		_ = os.RemoveAll(r.req.Spent) // as above
	}
	_ = r.held.Close() // others may remove it now
}

// restore makes the mounts and lets CRIU restore the tree.
func (r *restorer) restore(ctx context.Context, netns *os.File) (init wire.Init, err error) {
	_ = r.recordStreams() // without it there is no checkpoint, and that says so
	if r.req.Lazy {
		if err := r.startLazy(); err != nil {
			return init, err
		}
	}
	if len(r.req.Nulls) > stagedNulls {
		return init, fmt.Errorf("%w: it has %d kinds of /dev/null", criu.ErrRestore, len(r.req.Nulls))
	}
	if err := r.mapOwners(); err != nil {
		return init, err
	}
	err = mounts.In(r.session.Pid(), r.mount)
	if err != nil {
		return init, err
	}
	r.step("mounted")
	if r.lazy != nil {
		if err := r.lazy.server.Ready(ctx); err != nil {
			return init, err
		}
		r.step("memory served")
	}
	if err := r.ownStreams(); err != nil {
		return init, err
	}
	var pid int
	err = inNetwork(netns, func() error {
		pid, err = r.session.Restore(ctx, r.options())
		return err
	})
	if err != nil {
		return init, err
	}
	r.step("restored")
	_ = r.session.Leave() // the process ends, and is collected with all others
	if err := errors.Join(r.holdLazy(), r.served(ctx)); err != nil {
		return init, err
	}
	if err := r.confined(pid); err != nil {
		return init, err
	}
	if r.req.ReadOnlyRoot {
		if err := mounts.RootReadOnly(pid, true, r.req.NewPrivileges); err != nil {
			return init, err
		}
	}
	return r.record(pid)
}

// mount makes the root file system and the volumes, in the mount namespace of CRIU.
func (r *restorer) mount() error {
	layers, err := mounts.OpenLayers(r.req.ID, r.req.Lower)
	if err != nil {
		return err
	}
	defer layers.Close()
	if err := r.mountMapped(); err != nil {
		return err
	}
	root := mounts.Root{ID: r.req.ID, Target: r.rootfs(), Upper: r.req.Upper, Work: r.req.Work, Suid: r.req.NewPrivileges}
	if err := r.mountRoot(layers, root); err != nil {
		return err
	}
	if err := mounts.ResizeShm(r.source(wire.BindShm), r.req.ShmSize); err != nil {
		return err
	}
	var list []wire.Mount
	for _, b := range r.req.Binds {
		if b.Kind == wire.BindVolume {
			list = append(list, b.Volume)
		}
	}
	// What was mounted inside of a volume is in the list by itself; and CRIU in a user namespace cannot take a mount without what is in it.
	volumes, sources, err := mounts.Opener{
		ID: r.req.ID, Roots: r.req.VolumeRoots, Own: r.req.OwnFolders, Secrets: r.req.SecretRoots, Attach: parkDir(r.opts.mountDir()), Mapping: r.mapping, Alone: true,
	}.Open(list)
	if err != nil {
		return err
	}
	r.sources = append(sources, r.req.InMemory...)
	defer volumes.Close()
	for i, m := range list {
		if m.Secret == nil {
			continue
		}
		if err := r.giveSecret(volumes[i], m.Secret); err != nil {
			return wire.Fail(wire.KindMount, "secret %s for %s of container %s: %w", m.Source, m.Target, r.req.ID, err)
		}
	}
	return volumes.Park(parkDir(r.opts.mountDir()))
}

// giveSecret makes a secret its owner's, by the restored root's own table of users.
func (r *restorer) giveSecret(tree *os.File, s *wire.Secret) error {
	root, err := os.OpenFile(r.rootfs(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close() // a path descriptor
	owner, err := mounts.LookUser(root, cmp.Or(s.Owner, r.req.User))
	if err != nil {
		return err
	}
	if r.mapping != nil {
		owner.UID += int(r.mapping.Root)
		owner.GID += int(r.mapping.Root)
	}
	return mounts.Give(tree, owner)
}

// images is their folder, wherever it is moved to.
func (r *restorer) images() string {
	if r.ownImages != nil {
		return fmt.Sprintf("/proc/self/fd/%d", r.ownImages.Fd())
	}
	return r.heldImages()
}

func (r *restorer) heldImages() string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", r.held.Fd(), criu.ImagesDir)
}

// inNetwork runs fn while this thread, the process' first, is in a network
// namespace: it is the one that CRIU enters. Nothing else of this process needs a network.
func inNetwork(netns *os.File, fn func() error) error {
	defer netns.Close() // a namespace
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("finding the shim's network namespace: %w", err)
	}
	defer own.Close() // a namespace
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace of the container: %w", err)
	}
	err = fn()
	return errors.Join(err, unix.Setns(int(own.Fd()), unix.CLONE_NEWNET))
}

func (r *restorer) options() criu.RestoreOptions {
	o := criu.RestoreOptions{
		Images: r.images(), Work: r.req.Dir, Root: r.rootfs(), Lazy: r.req.Lazy, Created: r.created, Approve: r.gate,
		Inherit: []criu.Inherit{
			{Key: pipeKey(r.req.Streams.Stdout), FD: stagedStdout},
			{Key: pipeKey(r.req.Streams.Stderr), FD: stagedStderr},
		},
	}
	if r.mapping == nil {
		o.Inherit = append(o.Inherit, criu.Inherit{Key: criu.NetKey, FD: stagedNetns})
	}
	for i, key := range r.req.Nulls {
		o.Inherit = append(o.Inherit, criu.Inherit{Key: key, FD: stagedNull + i})
	}
	parked := 0
	for _, b := range r.req.Binds {
		source := r.source(b.Kind)
		if b.Kind == wire.BindVolume {
			source = mounts.ParkedAt(parkDir(r.opts.mountDir()), parked)
			parked++
		}
		o.External = append(o.External, "mnt["+b.Key+"]:"+source)
	}
	return o
}

func pipeKey(inode uint64) string { return "pipe:[" + strconv.FormatUint(inode, 10) + "]" }

// source is what is mounted besides volumes, as CRIU's mount namespace has it.
func (r *restorer) source(kind wire.BindKind) string {
	system := filepath.Join(r.opts.mountDir(), wire.SystemDir)
	switch kind {
	case wire.BindDev:
		return filepath.Join(system, "dev")
	case wire.BindShm:
		if r.mapping != nil {
			return shmDir(r.opts.mountDir())
		}
		return filepath.Join(system, "dev/shm")
	case wire.BindNull:
		return filepath.Join(system, "dev/null")
	case wire.BindEmpty:
		return emptyDir(r.opts.mountDir())
	case wire.BindCgroup:
		if r.mapping != nil {
			return cgroupDir(r.opts.mountDir())
		}
		return r.opts.Cgroup
	case wire.BindSys:
		return sysDir(r.opts.mountDir())
	case wire.BindVolume:
	}
	return ""
}

// record says on disk which process the container's init is, for every later
// daemon: from then on the container is there.
func (r *restorer) record(pid int) (init wire.Init, err error) {
	init.Sources = r.sources
	init.Process, err = wire.FindProcess(pid)
	if err != nil {
		return init, fmt.Errorf("the restored container %s: %w", r.req.ID, err)
	}
	if r.recorded == nil {
		return init, fmt.Errorf("%w: CRIU did not say that init was born", criu.ErrRestore)
	}
	if err := r.recorded(); err != nil {
		return init, err
	}
	return init, wire.WriteFile(r.req.Dir, wire.InitFile, init)
}

// recordLib says it to libcontainer, which executes further processes.
func (r *restorer) recordLib(pid int) error {
	init, err := wire.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("the restored container %s: %w", r.req.ID, err)
	}
	record, err := os.ReadFile(filepath.Join(r.heldImages(), wire.LibFile))
	if err != nil {
		return fmt.Errorf("reading libcontainer's record: %w", err)
	}
	slot := filepath.Base(r.opts.Cgroup)
	lib, err := revise(record, slot, init, r.opts.IDs)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.opts.RunDir, wire.LibDir, slot)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("recording container %s: %w", r.req.ID, err)
	}
	return wire.WriteFile(dir, "state.json", lib)
}

// revise changes libcontainer's record of a container into that of a restored one.
// The form is internal to libcontainer, whose version is pinned in go.mod; a
// privileged test executes a process in a restored container.
func revise(record json.RawMessage, slot string, init wire.Process, ids wire.IDs) (map[string]json.RawMessage, error) {
	var doc map[string]json.RawMessage // most of it is the seccomp filter, and stays as it is
	var paths map[string]string
	err := json.Unmarshal(record, &doc)
	if err == nil {
		err = json.Unmarshal(doc["namespace_paths"], &paths)
	}
	if err != nil {
		return nil, fmt.Errorf("reading libcontainer's record: %w", err)
	}
	for kind, path := range paths {
		paths[kind] = fmt.Sprintf("/proc/%d/ns/%s", init.Pid, filepath.Base(path))
	}
	if ids != 0 {
		if err := reviseIDs(doc, ids); err != nil {
			return nil, fmt.Errorf("writing libcontainer's record: %w", err)
		}
	}
	for name, value := range map[string]any{
		"id": slot, "init_process_pid": init.Pid, "init_process_start": init.Start, "created": time.Now().UTC(), "namespace_paths": paths,
	} {
		if doc[name], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("writing libcontainer's record: %w", err)
		}
	}
	return doc, nil
}

func (r *restorer) step(name string) {
	r.steps = append(r.steps, wire.Step{Name: name, At: wire.Now()})
}

// answer tells the daemon; that it has died is not this process' concern.
func (r *restorer) answer(reply wire.StartReply, err error) error {
	reply.Steps = r.steps
	if err != nil {
		reply.Error = wire.AsError(err)
		switch {
		case errors.Is(err, criu.ErrUnusable):
			reply.Error.Kind = wire.KindUnusable
		case errors.Is(err, criu.ErrRestore):
			reply.Error.Kind = wire.KindRestore
		}
	}
	_ = wire.Send(r.conn, reply) // see above
	return err
}

// end ends what came of the stage.
func (r *restorer) end() {
	_ = r.stage.Close() // it ends
	_ = r.session.Leave()
	r.endLazy()
	for killGroup(r.cgroup); reapSome(); killGroup(r.cgroup) { // what was killed may have had a child just before
		time.Sleep(time.Millisecond)
	}
}

// outputPipes makes the pipes of the container's output and gives their
// writing ends.
func (s *shim) outputPipes() (ends [2]*os.File, err error) {
	var reads [2]*os.File
	for i := range ends {
		if reads[i], ends[i], err = os.Pipe(); err != nil {
			return ends, fmt.Errorf("making a pipe: %w", err)
		}
	}
	s.stdout, s.stderr = reads[0], reads[1]
	return ends, nil
}

// birth makes a child start inside the replica's cgroup (CLONE_INTO_CGROUP:
// moving a process there later costs an RCU grace period, 5 to 10 ms) and in a
// mount namespace of its own.
func (s *shim) birth() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, UseCgroupFD: true, CgroupFD: int(s.cgroup.Fd())}
}
