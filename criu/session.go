package criu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

// maxReply bounds what CRIU answers: one message of a seqpacket socket.
const maxReply = 64 << 10

// rpcFD is the number of CRIU's end of the socket in its process; Files follow it.
const rpcFD = 3

// FirstFileFD is the number that the first of SessionOptions.Files has in CRIU.
const FirstFileFD = rpcFD + 1

// SessionOptions say how CRIU's process is started.
type SessionOptions struct {
	Files    []*os.File           // inherited, as FirstFileFD and following
	Attr     *syscall.SysProcAttr // where it is born: cgroup, namespaces
	Wrap     []string             // a program with arguments that executes CRIU: its command line follows
	KeepOpen bool                 // more than one request
}

// Session is a process `criu swrk` that waits for a request, or carries it out.
type Session struct {
	cmd      *exec.Cmd
	conn     *os.File // seqpacket
	keepOpen bool

	once sync.Once
	err  error // of the wait
}

// noBreakpoints has CRIU stop what it restores at each of its last system calls, as it does where the processor has no
// breakpoints, and not by one behind them: to the kernel that is a perf event of a task, and with the first of these on a machine,
// and each first after a second without any, it waits for all processors to have scheduled (synchronize_rcu in
// account_event, kernel/events/core.c). That was 6 to 30 ms in the middle of a restore; the system calls are some 0.5 ms. CRIU
// calls it a fault (FI_NO_BREAKPOINTS in its fault-injection.h), for its own tests.
const noBreakpoints = "CRIU_FAULT=130"

// Start starts a session. It may wait for as long as it is wanted to; it ends
// when it is closed or this process ends.
func (t *Tool) Start(opts SessionOptions) (*Session, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that reads heed deadlines
		return nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	conn, theirs := os.NewFile(uintptr(fds[0]), "criu"), os.NewFile(uintptr(fds[1]), "criu's")
	defer theirs.Close() // CRIU has its own
	line := append(append([]string{}, opts.Wrap...), t.Path, "swrk", fmt.Sprint(rpcFD))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", // it calls tar and the like
		noBreakpoints,
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = append([]*os.File{theirs}, opts.Files...)
	cmd.SysProcAttr = withoutGroups(opts.Attr)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", line[0], err), conn.Close())
	}
	return &Session{cmd: cmd, conn: conn, keepOpen: opts.KeepOpen}, nil
}

// withoutGroups lets CRIU have none of this process's supplementary groups, such as one that sudo started has: to a process whose
// image has none it gives its own.
func withoutGroups(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	groups, err := os.Getgroups()
	if os.Geteuid() != 0 || err == nil && len(groups) == 0 {
		return attr
	}
	var own syscall.SysProcAttr
	if attr != nil {
		own = *attr
	}
	own.Credential = &syscall.Credential{Gid: uint32(os.Getegid())} //nolint:gosec // a group's number
	return &own
}

// Pid is the number of CRIU's process.
func (s *Session) Pid() int { return s.cmd.Process.Pid }

// Close ends the session; a request that is under way is killed.
func (s *Session) Close() error {
	return errors.Join(s.conn.Close(), s.wait(false))
}

// Leave closes the socket without collecting the process: for who collects
// his children himself.
func (s *Session) Leave() error { return s.conn.Close() }

func (s *Session) wait(kill bool) error {
	s.once.Do(func() {
		if kill {
			_ = s.cmd.Process.Kill() // ended is fine
		}
		err := s.cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) { // how it ends tells nothing that its answer has not
			s.err = err
		}
	})
	return s.err
}

// Version asks what CRIU is.
func (s *Session) Version(ctx context.Context) (Version, error) {
	resp, err := s.call(ctx, &rpc.CriuReq{Type: rpc.CriuReqType_VERSION.Enum()}, nil)
	if err != nil {
		return Version{}, err
	}
	v := resp.GetVersion()
	return Version{int(v.GetMajorNumber()), int(v.GetMinorNumber()), int(v.GetSublevel())}, nil
}

// Features asks what CRIU can do on this kernel.
func (s *Session) Features(ctx context.Context) (*rpc.CriuFeatures, error) {
	yes := true
	resp, err := s.call(ctx, &rpc.CriuReq{
		Type: rpc.CriuReqType_FEATURE_CHECK.Enum(), Features: &rpc.CriuFeatures{MemTrack: &yes, LazyPages: &yes, PidfdStore: &yes},
	}, nil)
	if err != nil {
		return nil, err
	}
	return resp.GetFeatures(), nil
}

// request carries out one request with options. After the end of ctx CRIU is killed.
func (s *Session) request(ctx context.Context, kind rpc.CriuReqType, opts *rpc.CriuOpts) (*rpc.CriuResp, error) {
	return s.call(ctx, &rpc.CriuReq{Type: &kind, Opts: opts}, nil)
}

// call sends a request and waits for its answer. Meanwhile CRIU waits for what notified says
// to its notifications, where it was asked to have any.
func (s *Session) call(ctx context.Context, req *rpc.CriuReq, notified func(*rpc.CriuNotify) bool) (*rpc.CriuResp, error) {
	if s.keepOpen {
		req.KeepOpen = ptr(true)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // what it has started may have the other end, too
		_ = s.wait(true)
	})
	defer stop()
	reply := make([]byte, maxReply)
	resp, err := s.exchange(ctx, req, reply)
	for err == nil && notified != nil && resp.GetType() == rpc.CriuReqType_NOTIFY {
		yes := notified(resp.GetNotify())
		resp, err = s.exchange(ctx, &rpc.CriuReq{Type: rpc.CriuReqType_NOTIFY.Enum(), NotifySuccess: &yes}, reply)
	}
	if err != nil {
		return nil, err
	}
	if resp.GetSuccess() && resp.GetType() != req.GetType() {
		return nil, fmt.Errorf("criu answered %s to %s", resp.GetType(), req.GetType())
	}
	return resp, nil
}

// exchange sends one message and receives one.
func (s *Session) exchange(ctx context.Context, req *rpc.CriuReq, reply []byte) (*rpc.CriuResp, error) {
	msg, err := req.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encoding a request to criu: %w", err)
	}
	if _, err := s.conn.Write(msg); err != nil {
		return nil, s.broken(ctx, err)
	}
	n, err := s.conn.Read(reply)
	if err != nil {
		return nil, s.broken(ctx, err)
	}
	resp := &rpc.CriuResp{}
	if err := resp.UnmarshalVT(reply[:n]); err != nil {
		return nil, fmt.Errorf("decoding criu's answer: %w", err)
	}
	return resp, nil
}

// broken is the error of a session that has ended in the middle.
func (s *Session) broken(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return errors.New("criu's process ended without an answer")
	}
	return fmt.Errorf("talking to criu: %w", err)
}
