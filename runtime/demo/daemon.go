package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/image/build"
)

const daemonConfig = `# the node of the demo: all its files are in one folder
stateDir: %[1]s/state
runDir: %[1]s/run
sitesDir: %[1]s/sites
bpffs: %[1]s/bpf
cgroupRoot: %[2]s
uplinks: [%[3]s]
`

const siteSpec = `name: %s
domains: [hello.example.com]
image: oci:%s
ports: [80/tcp]
idle: %s
`

// cgroup is the demo's own, as cgroups have no namespaces of their own here.
func cgroupName() string { return fmt.Sprintf("/fcnode-demo-%d", os.Getpid()) }

// writeFiles writes the configuration and the spec, and makes the image.
func (s *stage) writeFiles() error {
	program, err := findSite(s.self)
	if err != nil {
		return err
	}
	image := filepath.Join(s.dir, "image")
	cfg := build.Config{}
	cfg.Entrypoint = []string{"/site"}
	if _, err := build.Layout(image, "", cfg, build.NewLayer(build.FileFrom("site", 0o755, program))); err != nil {
		return fmt.Errorf("make the image of the demo site: %w", err)
	}
	err = os.WriteFile(s.config(), fmt.Appendf(nil, daemonConfig, s.dir, cgroupName(), uplink), 0o600)
	if err != nil {
		return err
	}
	return os.WriteFile(s.spec(), fmt.Appendf(nil, siteSpec, siteName, image, idleAfter), 0o600)
}

// findSite looks for the program of the demo site where the build and the
// packages put it.
func findSite(self string) (string, error) {
	const name = "fcnode-demo-site"
	tried := []string{filepath.Join(filepath.Dir(self), name), "/usr/lib/fcnode/" + name, "/usr/local/lib/fcnode/" + name}
	for _, path := range tried {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program of the demo site is in none of %s: run make build, or reinstall fcnode", strings.Join(tried, ", "))
}

// startDaemon starts `fcnode run` and waits until it says that it is ready.
func (s *stage) startDaemon(ctx context.Context) (*exec.Cmd, error) {
	notify := filepath.Join(s.dir, "notify")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("open the socket for the daemon's readiness: %w", err)
	}
	defer sock.Close() //nolint:errcheck // nothing was written
	log, err := os.Create(filepath.Join(s.dir, "daemon.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the daemon has its own
	cmd := exec.Command(s.self, "run", "--config", s.config())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	cmd.Stdout, cmd.Stderr = log, log
	// Its own process group: Ctrl-C is for the demo, which ends the daemon in order.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	died := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says more
		close(died)
		_ = sock.SetReadDeadline(time.Unix(1, 0))
	}()
	stop := context.AfterFunc(ctx, func() { _ = sock.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := waitReady(sock); err != nil {
		_ = cmd.Process.Kill()
		<-died
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("the daemon did not start: %w\n%s", err, text)
	}
	return cmd, nil
}

func waitReady(sock *net.UnixConn) error {
	if err := sock.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
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

// end stops the daemon and takes everything away that lives without it.
func (s *stage) end(daemon *exec.Cmd) error {
	// The user is not asked to wait for a second Ctrl-C: this goes on regardless.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := stopDaemon(ctx, daemon)
	out, teardown := exec.CommandContext(ctx, s.self, "teardown", "--purge", "--config", s.config(), "--log-level", "error").CombinedOutput()
	if teardown != nil {
		err = errors.Join(err, fmt.Errorf("take the demo's node away: %w\n%s", teardown, out))
	}
	return err
}

func stopDaemon(ctx context.Context, daemon *exec.Cmd) error {
	pidfd, err := unix.PidfdOpen(daemon.Process.Pid, 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended by itself, and was collected
	}
	defer unix.Close(pidfd) //nolint:errcheck // only a reference
	if err := daemon.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	deadline, _ := ctx.Deadline()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for the daemon's end: %w", err)
	}
	if n == 0 {
		return errors.Join(errors.New("the daemon did not stop within a minute"), daemon.Process.Kill())
	}
	return nil
}
