package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const daemonConfig = `# a node with all its files in one folder
stateDir: %[1]s/state
runDir: %[1]s/run
sitesDir: %[1]s/sites
bpffs: %[1]s/bpf
cgroupRoot: %[2]s
uplinks: %[3]s
volumeRoots: [/]
`

// wakeConfig is in it unless more of the configuration says something of wakes.
const wakeConfig = `wake: {source: {burst: 100000}} # all visitors come from one network here
`

// cgroupName is the stage's own: cgroups are not in the namespaces that it has.
func cgroupName() string { return fmt.Sprintf("/fcnode-stage-%d", os.Getpid()) }

func (s *Stage) writeConfig() error {
	uplinks := []string{Uplink}
	for _, m := range s.machines {
		uplinks = append(uplinks, m.cable)
	}
	more := s.more
	if !strings.Contains("\n"+more, "\nwake:") {
		more = wakeConfig + more
	}
	return os.WriteFile(s.Config(), fmt.Appendf(nil, daemonConfig+more, s.Dir, cgroupName(), "["+strings.Join(uplinks, ", ")+"]"), 0o600)
}

// Start starts `fcnode run` and waits until it says that it is ready: until ctx's
// deadline, and for a minute where it has none.
func (s *Stage) Start(ctx context.Context) error {
	notify := s.File("notify")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("open the socket for the daemon's readiness: %w", err)
	}
	defer os.Remove(notify)
	defer sock.Close()
	log, err := os.OpenFile(s.File("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.Program, "run", "--config", s.Config())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	cmd.Stdout, cmd.Stderr = log, log
	// Its own process group: Ctrl-C is for the demo, which ends the daemon in
	// order.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	died := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says more
		close(died)
		_ = sock.SetReadDeadline(time.Unix(1, 0))
	}()
	stop := context.AfterFunc(ctx, func() { _ = sock.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := waitReady(ctx, sock); err != nil {
		_ = cmd.Process.Kill()
		<-died
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("the daemon did not start: %w\n%s", err, text)
	}
	s.daemon = cmd
	return nil
}

// PID of the daemon.
func (s *Stage) PID() int { return s.daemon.Process.Pid }

func waitReady(ctx context.Context, sock *net.UnixConn) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	if err := sock.SetReadDeadline(deadline); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := sock.Read(buf)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// Stop ends the daemon in order; what it runs lives on.
func (s *Stage) Stop(ctx context.Context) error { return stopDaemon(ctx, s.daemon) }

// Close stops the daemon and takes everything away that lives without it.
func (s *Stage) Close() error {
	// The user is not asked to wait for a second Ctrl-C: this goes on
	// regardless.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.API.Close()
	var err error
	if s.daemon != nil {
		err = s.Stop(ctx)
	}
	err = errors.Join(err, s.Teardown(ctx, true))
	for _, m := range s.machines {
		err = errors.Join(err, m.close())
	}
	return errors.Join(err, s.Client.close())
}

// Teardown takes everything away that lives without the daemon; with purge also
// the state on disk, else the next Start is like one after a boot.
func (s *Stage) Teardown(ctx context.Context, purge bool) error {
	args := []string{"teardown", "--config", s.Config(), "--log-level", "error"}
	if purge {
		args = append(args, "--purge")
	}
	if out, err := exec.CommandContext(ctx, s.Program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("take the node away: %w\n%s", err, out)
	}
	return nil
}

func stopDaemon(ctx context.Context, daemon *exec.Cmd) error {
	pidfd, err := unix.PidfdOpen(daemon.Process.Pid, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(pidfd)
	if err := daemon.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	deadline, _ := ctx.Deadline()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the daemon's end: %w", err)
		case n == 0:
			return errors.Join(errors.New("the daemon did not stop within a minute"), daemon.Process.Kill())
		default:
			return nil
		}
	}
}
