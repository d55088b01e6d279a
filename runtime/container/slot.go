package container

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/file"
	"golang.org/x/sys/unix"
)

// slot is a shim with a runner that wait for a request, in a cgroup of their own.
type slot struct {
	group  *cgroup.Group
	conn   *net.UnixConn // to the runner
	shim   wire.Process
	libDir string        // libcontainer's state
	ended  chan struct{} // closed when the shim has ended and is collected

	generation int // of the programs

	ids      wire.IDs // of its user namespace; 0: it is in the machine's
	giveBack func()   // these, if nothing came of it
	netns    Netns    // in which it waits, before anybody has taken it: see Place
	restores bool     // CRIU waits in it, not a runner
}

// newSlot starts a shim and, by it, a runner. It does not wait for them.
func (m *Manager) newSlot() (*slot, error) { return m.newShim(start{}) }

// slotFor gives a slot that waits, or makes one.
func (m *Manager) slotFor(spec Spec) (*slot, error) {
	switch {
	case spec.Userns:
		return m.placedSlot(spec)
	case len(spec.Architectures) > 0: // the filter of those that wait is for the machine's own
		return m.newShim(start{foreign: spec.Architectures})
	}
	return m.pool.take()
}

// start is what a shim is started with besides its arguments.
type start struct {
	netns   *os.File // a network namespace for it, or nil
	foreign []string // see wire.ForeignEnv
}

// newShim starts a shim in a fresh cgroup. before are arguments before the others.
func (m *Manager) newShim(with start, before ...string) (*slot, error) {
	group, err := m.parent.Create(m.prefix + strconv.FormatUint(m.slots.Add(1), 10))
	if err != nil {
		return nil, err
	}
	s, err := m.startShim(group, with, before)
	if err != nil {
		return nil, errors.Join(err, group.Remove())
	}
	return s, nil
}

// cgroupPrefix begins the names of the cgroups of one Manager: a cgroup is never
// used twice, and the daemon before this one may have left some.
func cgroupPrefix() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	return "r-" + hex.EncodeToString(b[:]) + "-"
}

func (m *Manager) startShim(group *cgroup.Group, with start, before []string) (*slot, error) {
	if err := m.programs.fit(); err != nil {
		return nil, fmt.Errorf("starting the monitor %s: %w", m.opts.MonitorPath, err)
	}
	conn, theirs, err := wire.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // the shim has its own
	cmd, generation, err := m.programs.start(func(now openedPrograms) *exec.Cmd {
		cmd := exec.Command(opened(now.shim), slices.Concat(before, []string{group.Path(), m.opts.RunDir})...)
		cmd.Args[0] = "fcnode-shim"
		cmd.Env = versionEnv()
		if len(with.foreign) > 0 {
			cmd.Env = append(cmd.Env, wire.ForeignEnv+"="+strings.Join(with.foreign, ","))
		}
		cmd.Dir = "/"
		cmd.ExtraFiles = []*os.File{theirs, now.runner, now.monitor}
		if with.netns != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, with.netns)
		}
		// A session of its own: what the terminal of the daemon sends is not for it.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(m.monitors.Fd())}
		return cmd
	})
	if err != nil {
		_ = conn.Close() // of no use without a shim
		return nil, fmt.Errorf("starting the monitor %s: %w; is fcnode installed completely?", m.opts.ShimPath, err)
	}
	s := &slot{
		group: group, conn: conn, ended: make(chan struct{}),
		libDir: m.libDir(group.Name()), generation: generation,
	}
	// Not collected yet, so it is there even if it has ended.
	if s.shim, err = wire.FindProcess(cmd.Process.Pid); err != nil {
		_ = conn.Close() // as above
		_ = cmd.Wait()
		return nil, fmt.Errorf("starting the monitor: %w", err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is told by files
		close(s.ended)
	}()
	return s, nil
}

// alive reports whether the slot still waits.
func (s *slot) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// ask sends the request. If nobody takes it, the error is what the other side
// has said before it ended, should it have said anything.
func (s *slot) ask(req any, files ...*os.File) error {
	err := wire.Send(s.conn, req, files...)
	if err == nil {
		return nil
	}
	return errors.Join(err, lastWords(s.conn, lastWordsTime))
}

// lastWordsTime bounds the wait for what should have been said before: it is there, or the end of the connection is. A daemon that
// has to wait for the processor must not take that for silence.
const lastWordsTime = time.Second

// lastWords are why the processes at the other end have ended before they were asked for anything; nil if they
// have not said it within that time.
func lastWords(conn *net.UnixConn, within time.Duration) error {
	var reply wire.StartReply
	err := conn.SetReadDeadline(time.Now().Add(within))
	if err == nil {
		_, err = wire.Recv(conn, &reply)
	}
	var version *wire.VersionError
	if errors.As(err, &version) {
		return err
	}
	if err == nil && reply.Error != nil {
		return reply.Error
	}
	return nil
}

// discard gives up a slot that waits; its processes end by themselves, unless
// the shim was killed.
func (s *slot) discard() error {
	_ = s.conn.Close() // that is the sign
	<-s.ended
	return s.clear()
}

// clear kills what is left in the cgroup and removes it.
func (s *slot) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), lostTimeout)
	defer cancel()
	err := errors.Join(s.group.KillAll(ctx), s.group.Remove(), file.RemoveAll(s.libDir))
	if err == nil && s.giveBack != nil {
		s.giveBack()
	}
	if s.netns != nil {
		err = errors.Join(err, s.netns.Close())
	}
	return err
}

// abort ends a slot that is starting something. The runner and what it has made
// are in the cgroup; the shim ends with them.
func (s *slot) abort() error {
	err := s.clear()
	_ = s.conn.Close() // nothing more is read
	select {
	case <-s.ended:
		return err
	case <-time.After(abortTime):
	}
	return errors.Join(err, s.kill())
}

// abortTime is how long a shim may take to notice that all it has made is gone.
const abortTime = 2 * time.Second

// kill ends a shim that hangs, and what it has started outside of the replica's
// cgroup: the process that serves memory.
func (s *slot) kill() error {
	var children []wire.Process
	for _, pid := range childrenOf(s.shim.Pid) {
		if p, err := wire.FindProcess(pid); err == nil {
			children = append(children, p)
		}
	}
	for _, p := range append(children, s.shim) {
		pidfd, err := p.Open()
		if errors.Is(err, wire.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		err = signalProcess(pidfd, unix.SIGKILL)
		_ = pidfd.Close() // a pidfd
		if err != nil {
			return err
		}
	}
	select {
	case <-s.ended:
		return s.clear()
	case <-time.After(lostTimeout):
		return fmt.Errorf("the monitor (process %d) does not end", s.shim.Pid)
	}
}
