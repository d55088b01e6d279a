//go:build linux

package shim

import (
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
	"github.com/fcnode/fcnode/runtime/container/wire"
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
	steps   []wire.Step
}

// RunRestore waits for a request to restore a container, carries it out and
// monitors the container. It returns when that has ended, or when the daemon is gone without
// a request.
func RunRestore(opts Options, criuPath string) error {
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
	if r.session, r.stage, err = r.startStage(r.tool); err != nil {
		return r.answer(wire.StartReply{}, err)
	}
	r.runner = r.session.Pid()
	netns, err := r.wait()
	if err != nil || netns == nil {
		r.end()
		return err
	}
	return r.run(netns)
}

// wait waits for the stage and for a request; without one it gives nil.
func (r *restorer) wait() (*os.File, error) {
	if err := r.stageAnswer(); err != nil {
		return nil, r.answer(wire.StartReply{}, err)
	}
	fds, err := wire.Recv(r.conn, &r.req)
	if errors.Is(err, io.EOF) {
		return nil, nil // the daemon is gone, or does not need this one
	}
	if err == nil && len(fds) != 1 {
		err = fmt.Errorf("the request came with %d descriptors instead of the network namespace alone", len(fds))
	}
	if err != nil {
		return nil, r.answer(wire.StartReply{}, err)
	}
	r.step("received")
	return fds[0], nil
}

// stageAnswer is what the stage has to say: that it waits, or what went wrong.
func (r *restorer) stageAnswer() error {
	var ready wire.StageReady
	if _, err := wire.Recv(r.stage, &ready); err != nil {
		return fmt.Errorf("preparing a restore: the process that was to become CRIU: %w", err)
	}
	if ready.Error != nil {
		return ready.Error
	}
	return nil
}

func (r *restorer) run(netns *os.File) error {
	r.monitor = r.req.Monitor
	init, copied, err := r.restore(netns)
	if err != nil {
		r.end()
		<-copied
		r.spent() // a second restore of it is not allowed
		failed := wire.WriteFile(r.req.Dir, wire.ExitFile, wire.Exit{Code: -1, At: time.Now(), Failed: err.Error()})
		return errors.Join(r.answer(wire.StartReply{}, err), failed)
	}
	r.setInit(init.Pid)
	_ = r.answer(wire.StartReply{Init: init}, nil) // a daemon that died finds init.json
	_ = r.conn.Close()                             // nothing more is said
	if r.lazy == nil {
		r.spent()
	}
	status := r.reapUntil(init.Pid)
	if r.lazy != nil {
		r.endLazy()
		r.spent()
	}
	return r.finish(status, copied)
}

// spent removes the images when they are not needed any more; what a crash
// leaves is swept by the next daemon.
func (r *restorer) spent() {
	if r.req.Spent != "" {
		_ = os.RemoveAll(r.req.Spent) // as above
	}
}

// restore lets the stage become CRIU and CRIU restore the tree. copied is closed
// when the output has come to its end.
func (r *restorer) restore(netns *os.File) (init wire.Process, copied <-chan struct{}, err error) {
	closed := make(chan struct{})
	close(closed)
	ends, err := r.outputPipes()
	if err != nil {
		return init, closed, err
	}
	err = wire.Send(r.stage, wire.StageRequest{
		ID: r.req.ID, Rootfs: r.req.Rootfs, Lower: r.req.Lower, Upper: r.req.Upper, Work: r.req.Work, Nulls: len(r.req.Nulls),
	}, netns, ends[0], ends[1])
	for _, f := range append(ends[:], netns) {
		_ = f.Close() // the stage has its own
	}
	copied = r.copyOutput()
	if err == nil && r.req.Lazy {
		err = r.startLazy()
	}
	if err != nil {
		return init, copied, fmt.Errorf("asking for the mounts of container %s: %w", r.req.ID, err)
	}
	// The stage's end of the connection is closed when it executes CRIU.
	if err := r.stageAnswer(); err != nil && !errors.Is(err, io.EOF) {
		return init, copied, err
	}
	r.step("mounted")
	if r.lazy != nil {
		if err := r.lazy.server.Ready(); err != nil {
			return init, copied, err
		}
		r.step("memory served")
	}
	pid, err := r.session.Restore(context.Background(), r.options())
	if err != nil {
		return init, copied, err
	}
	r.step("restored")
	_ = r.session.Leave() // the process ends, and is collected with all others
	if err := r.holdLazy(); err != nil {
		return init, copied, err
	}
	init, err = r.record(pid)
	return init, copied, err
}

func (r *restorer) options() criu.RestoreOptions {
	o := criu.RestoreOptions{
		Images: r.req.Images, Work: r.req.Dir, Root: r.req.Rootfs, Lazy: r.req.Lazy,
		Inherit: []criu.Inherit{
			{Key: criu.NetKey, FD: stagedNetns},
			{Key: pipeKey(r.req.Streams.Stdout), FD: stagedStdout},
			{Key: pipeKey(r.req.Streams.Stderr), FD: stagedStderr},
		},
	}
	for i, key := range r.req.Nulls {
		o.Inherit = append(o.Inherit, criu.Inherit{Key: key, FD: stagedNull + i})
	}
	for _, b := range r.req.Binds {
		o.External = append(o.External, "mnt["+b.Key+"]:"+r.source(b))
	}
	return o
}

func pipeKey(inode uint64) string { return "pipe:[" + strconv.FormatUint(inode, 10) + "]" }

// source is what is mounted, as CRIU's mount namespace has it.
func (r *restorer) source(b wire.Bind) string {
	system := filepath.Join(r.opts.RunDir, wire.SystemDir)
	switch b.Kind {
	case wire.BindDev:
		return filepath.Join(system, "dev")
	case wire.BindShm:
		return filepath.Join(system, "dev/shm")
	case wire.BindNull:
		return filepath.Join(system, "dev/null")
	case wire.BindEmpty:
		return emptyDir(r.opts.RunDir)
	case wire.BindCgroup:
		return r.opts.Cgroup
	}
	return b.Source
}

// record says on disk which process the container's init is: for every later
// daemon, and for libcontainer, which executes further processes.
func (r *restorer) record(pid int) (wire.Process, error) {
	init, err := wire.FindProcess(pid)
	if err != nil {
		return init, fmt.Errorf("the restored container %s: %w", r.req.ID, err)
	}
	lib, err := revise(r.req.Lib, filepath.Base(r.opts.Cgroup), init)
	if err != nil {
		return init, err
	}
	dir := filepath.Join(r.opts.RunDir, wire.LibDir, filepath.Base(r.opts.Cgroup))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return init, fmt.Errorf("recording container %s: %w", r.req.ID, err)
	}
	return init, errors.Join(wire.WriteFile(dir, "state.json", lib), wire.WriteFile(r.req.Dir, wire.InitFile, init))
}

// revise changes libcontainer's record of a container into that of a restored one.
// The form is internal to libcontainer, whose version is pinned in go.mod; a
// privileged test executes a process in a restored container.
func revise(record json.RawMessage, slot string, init wire.Process) (map[string]any, error) {
	var doc map[string]any
	if err := json.Unmarshal(record, &doc); err != nil {
		return nil, fmt.Errorf("reading libcontainer's record: %w", err)
	}
	doc["id"] = slot
	doc["init_process_pid"] = init.Pid
	doc["init_process_start"] = init.Start
	doc["created"] = time.Now().UTC()
	paths, _ := doc["namespace_paths"].(map[string]any)
	for kind, path := range paths {
		if p, ok := path.(string); ok {
			paths[kind] = fmt.Sprintf("/proc/%d/ns/%s", init.Pid, filepath.Base(p))
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
		if errors.Is(err, criu.ErrRestore) {
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
	killGroup(r.cgroup)
	r.reapAll()
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
