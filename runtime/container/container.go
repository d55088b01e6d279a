package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/guard"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// Container is a running container, or one that has ended and is not removed.
type Container struct {
	m     *Manager
	state wire.State
	group *cgroup.Group
	init  wire.Process

	sources []volume.Source // of its volumes

	initFD *os.File // pidfds, both of them
	shimFD *os.File
	ended  <-chan struct{} // the shim is collected; nil if it is not a child

	exited chan struct{}
	once   sync.Once
	exit   ExitStatus // valid when exited is closed

	dumped atomic.Pointer[checkpointed] // the last checkpoint of it
}

// adopt takes over a container that runs.
func (m *Manager) adopt(state wire.State, init wire.Init, ended <-chan struct{}) (*Container, error) {
	c := m.newContainer(state, init)
	c.ended = ended
	var err error
	if c.shimFD, err = state.Shim.Open(); err != nil && !errors.Is(err, wire.ErrGone) {
		return nil, err
	}
	if c.initFD, err = init.Open(); err != nil && !errors.Is(err, wire.ErrGone) {
		return nil, err
	}
	if c.shimFD == nil && ended == nil {
		c.watch() // it has ended: its exit is there to be read
	} else {
		go func() {
			if fault := guard.Run(c.watch); fault != nil {
				m.log.Error("watching a container has panicked, which is a bug of fcnode", "container", c.ID(), "error", fault, "stack", string(fault.Stack))
				c.finish(c.lost(fault))
			}
		}()
	}
	return c, nil
}

func (m *Manager) newContainer(state wire.State, init wire.Init) *Container {
	return &Container{
		m: m, state: state, init: init.Process, sources: init.Sources, group: m.parent.Open(state.Cgroup), exited: make(chan struct{}),
	}
}

// ID is that of its spec.
func (c *Container) ID() string { return c.state.ID }

// Name is by what people know the container.
func (c *Container) Name() string { return Name(c.state.ID) }

// Name is what people read of a container's ID.
func Name(id string) string {
	if i := strings.LastIndexByte(id, '.'); i > 0 {
		return id[:i]
	}
	return id
}

// Site is the site's name.
func (c *Container) Site() string { return c.state.Site }

// Meta is what Start was given.
func (c *Container) Meta() map[string]string { return c.state.Meta }

// Sources are where its volumes come from, and what those were when they were
// mounted. An older fcnode has not recorded them.
func (c *Container) Sources() []volume.Source { return c.sources }

// Created is when the container was started.
func (c *Container) Created() time.Time { return c.state.Created }

// Pid is the number of the container's init in the machine's PID namespace.
func (c *Container) Pid() int { return c.init.Pid }

// Group is the container's cgroup.
func (c *Container) Group() *cgroup.Group { return c.group }

// NetnsPath names the container's network namespace while the container runs.
func (c *Container) NetnsPath() string { return fmt.Sprintf("/proc/%d/ns/net", c.init.Pid) }

// Exited is closed when the container has ended.
func (c *Container) Exited() <-chan struct{} { return c.exited }

// Exit says how the container ended; false while it runs.
func (c *Container) Exit() (ExitStatus, bool) {
	select {
	case <-c.exited:
		return c.exit, true
	default:
		return ExitStatus{}, false
	}
}

// Kill ends the container at once and waits for it.
func (c *Container) Kill(ctx context.Context) error {
	if err := c.signal(unix.SIGKILL); err != nil {
		return err
	}
	return c.wait(ctx)
}

// Stop asks the container to end, by its stop signal, and kills it when it has
// not done so within the grace. A frozen container is thawed first. A program
// that does not catch the signal is killed at once: as the first process of its
// PID namespace it would never see it. Where ctx ends, the container is killed.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	if err := c.group.Thaw(ctx); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stopping container %s: %w", c.Name(), err)
	}
	sig := unix.Signal(c.state.StopSignal)
	if !c.heeds(sig) {
		return c.Kill(ctx)
	}
	if err := c.signal(sig); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stopping container %s: %w", c.Name(), context.Cause(ctx)), c.signal(unix.SIGKILL))
	}
	return c.Kill(ctx)
}

// heeds reports whether init would notice the signal: it has a handler, or has
// it blocked, as programs do that read signals from a descriptor.
func (c *Container) heeds(sig unix.Signal) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.init.Pid))
	if err != nil {
		return true // ended: the signal goes nowhere
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigBlk" && name != "SigCgt" {
			continue
		}
		var mask uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%x", &mask); err != nil || mask&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}

func (c *Container) signal(sig unix.Signal) error {
	if _, ended := c.Exit(); ended || c.initFD == nil {
		return nil
	}
	err := signalProcess(c.initFD, sig)
	if errors.Is(err, os.ErrClosed) { // ended in between
		return nil
	}
	return err
}

func (c *Container) wait(ctx context.Context) error {
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of container %s: %w", c.Name(), context.Cause(ctx))
	}
}

// watch waits for the shim, which ends when the container has ended.
func (c *Container) watch() {
	if c.shimFD != nil {
		if err := wire.WaitEnd(c.shimFD); err != nil {
			return // let go: the Manager is closed
		}
	}
	if c.ended != nil {
		<-c.ended // leave no zombie to who waits for Exited
	}
	var exit wire.Exit
	if err := wire.ReadFile(c.m.dir(c.ID()), wire.ExitFile, &exit); err != nil {
		c.finish(c.lost(err))
		return
	}
	c.finish(ExitStatus{Code: exit.Code, Signal: exit.Signal, OOMKilled: exit.OOM, At: exit.At, Failed: exit.Failed})
}

// lostTimeout bounds the killing of a container without a monitor: the kernel
// ends processes at once, unless they hang in it.
const lostTimeout = 10 * time.Second

// lost ends a container whose shim was killed: nobody reads its output, and
// nobody would learn how it ends.
func (c *Container) lost(why error) ExitStatus {
	c.m.log.Warn("the monitor of a container was killed; ending the container", "container", c.ID(), "error", why)
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	if err := c.group.KillAll(ctx); err != nil {
		c.m.log.Error("cannot end a container that lost its monitor", "container", c.ID(), "error", err)
	}
	if err := c.group.Remove(); err != nil {
		c.m.log.Warn("cannot remove the cgroup of a container that lost its monitor", "container", c.ID(), "error", err)
	}
	return ExitStatus{Code: -1, MonitorLost: true, At: time.Now()}
}

func (c *Container) finish(exit ExitStatus) {
	c.once.Do(func() {
		c.exit = exit
		close(c.exited)
	})
	c.letGo()
}

// letGo closes the descriptors. The container runs on, if it runs.
func (c *Container) letGo() {
	for _, f := range []*os.File{c.initFD, c.shimFD} {
		if f != nil {
			_ = f.Close() // a pidfd
		}
	}
}

// withPath makes sure that there is a PATH, as programs are looked up by it.
func withPath(env []string) []string {
	for _, e := range env {
		if strings.HasPrefix(e, "PATH=") {
			return env
		}
	}
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
}
