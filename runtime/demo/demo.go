package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
)

// Options of Run.
type Options struct {
	Stdout, Stderr io.Writer
	Stay           bool // until the context ends, with hints how to go on
}

// envInside marks the process inside of the demo's own namespaces.
const envInside = "FCNODE_DEMO_DIR"

// Addresses of the demo; the networks are those of RFC 5737 and RFC 3849.
const (
	nodeAddr   = "198.51.100.1/24"
	clientAddr = "198.51.100.2/24"
	uplink     = "uplink0"
	siteName   = "hello"
	idleAfter  = 2 * time.Second
)

// Run runs the demo. The first call moves to namespaces of its own by executing
// the program anew; what is mounted and made there goes when the last process
// of the demo ends, however it ends.
func Run(ctx context.Context, o Options) error {
	dir := os.Getenv(envInside)
	if dir == "" {
		return outside(ctx, o)
	}
	return inside(ctx, o, dir)
}

func outside(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces and containers: run it as root (sudo fcnode demo)")
	}
	dir, err := os.MkdirTemp("", "fcnode-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an empty mount point
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the fcnode program: %w", err)
	}
	// Not CommandContext: the child gets the terminal's Ctrl-C itself, and cleans up.
	cmd := exec.Command(self, "demo")
	cmd.Env = append(os.Environ(), envInside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, o.Stdout, o.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the demo in namespaces of its own: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

// stage is a demo that is set up.
type stage struct {
	Options
	dir    string
	self   string
	client *client
	api    *api.Client
}

func inside(ctx context.Context, o Options, dir string) (err error) {
	runtime.LockOSThread() // of the main goroutine: nothing here changes namespaces on it
	defer runtime.UnlockOSThread()
	s := &stage{Options: o, dir: dir}
	if s.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find the fcnode program: %w", err)
	}
	if err := mounts(dir); err != nil {
		return err
	}
	if s.client, err = newClient(); err != nil {
		return err
	}
	defer s.client.close()
	if err := s.writeFiles(); err != nil {
		return err
	}
	daemon, err := s.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end(daemon)) }()
	s.api = api.NewClient(s.socket())
	defer s.api.Close()
	err = s.play(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // Ctrl-C is a fine end
	}
	return err
}

func (s *stage) socket() string { return filepath.Join(s.dir, "run", "fcnode.sock") }
func (s *stage) config() string { return filepath.Join(s.dir, "fcnode.yaml") }
func (s *stage) spec() string   { return filepath.Join(s.dir, "hello.yaml") }

// mounts gives the demo a tmpfs for all its files, a BPF file system, and a
// /sys that shows its own network namespace.
func mounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep the demo's mounts to itself: %w", err)
	}
	if err := unix.Mount("fcnode-demo", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	bpffs := filepath.Join(dir, "bpf")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", bpffs, err)
	}
	return nil
}

// play is the scenario.
func (s *stage) play(ctx context.Context) error {
	s.say("A node runs in a network namespace of its own; its visitors come from another one.")
	s.say("This is the whole description of a site:")
	if err := s.showFile(s.spec()); err != nil {
		return err
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return s.fcnode(ctx, "apply", "-f", s.spec()) },
		func(ctx context.Context) error { return s.fcnode(ctx, "list") },
		s.visit("Nothing of it runs. A visitor comes, and his first packet (SYN) wakes it:"),
		func(ctx context.Context) error { return s.fcnode(ctx, "trace", siteName) },
		s.visit("Awake, there is nothing between the visitor and the application:"),
		s.waitParked,
		s.visit("The next visitor wakes it again:"),
		func(ctx context.Context) error { return s.fcnode(ctx, "trace", siteName) },
		func(ctx context.Context) error { return s.fcnode(ctx, "events", "--site", siteName) },
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.goOn(ctx)
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.Stdout, "\n"+format+"\n\n", args...)
}

func (s *stage) showFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		fmt.Fprint(s.Stdout, "    ", line)
	}
	fmt.Fprintln(s.Stdout)
	return nil
}

// fcnode shows a command and runs it.
func (s *stage) fcnode(ctx context.Context, args ...string) error {
	fmt.Fprintf(s.Stdout, "$ fcnode %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, s.self, args...)
	cmd.Env = append(os.Environ(), "FCNODE_SOCKET="+s.socket())
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fcnode %s: %w", strings.Join(args, " "), err)
	}
	fmt.Fprintln(s.Stdout)
	return nil
}

// visit makes a step that asks the site for its page, from outside.
func (s *stage) visit(why string) func(context.Context) error {
	return func(ctx context.Context) error {
		addr, err := s.address(ctx)
		if err != nil {
			return err
		}
		s.say("%s", why)
		fmt.Fprintf(s.Stdout, "client$ curl http://%s/\n", addr)
		body, took, err := s.client.get(ctx, "http://"+addr+"/")
		if err != nil {
			return fmt.Errorf("visit the site: %w", err)
		}
		fmt.Fprintf(s.Stdout, "%s        (answered after %s)\n\n", body, took.Round(10*time.Microsecond))
		return nil
	}
}

func (s *stage) address(ctx context.Context) (string, error) {
	site, err := s.api.Get(ctx, siteName)
	if err != nil {
		return "", err
	}
	return site.Addresses[0].String(), nil
}

// waitParked follows the journal until the site sleeps again.
func (s *stage) waitParked(ctx context.Context) error {
	s.say("Its spec says idle: %s. Without a connection for so long it is parked, and its memory is free:", idleAfter)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ev, err := range s.api.Events(ctx, api.EventOptions{Site: siteName, Follow: true}) {
		if err != nil {
			return err
		}
		if ev.Kind == "parked" {
			return s.fcnode(ctx, "list")
		}
	}
	return fmt.Errorf("the site was not parked: %w", ctx.Err())
}

// goOn says how to go on by hand, and on a terminal waits for Ctrl-C.
func (s *stage) goOn(ctx context.Context) error {
	if !s.Stay {
		s.say("Done; everything of the demo is taken away again. On a terminal it stays, for you to go on by hand.")
		return nil
	}
	addr, err := s.address(ctx)
	if err != nil {
		return err
	}
	s.say("The node runs until Ctrl-C. In another terminal, as root:")
	pid := os.Getpid()
	fmt.Fprintf(s.Stdout, "    export FCNODE_SOCKET=/proc/%d/root%s\n", pid, s.socket())
	fmt.Fprintf(s.Stdout, "    %s list\n    %s events -f\n    %s logs -f %s\n", s.self, s.self, s.self, siteName)
	fmt.Fprintf(s.Stdout, "    nsenter --net=/proc/%d/fd/%d curl http://%s/        # as the visitor\n", pid, s.client.fd(), addr)
	fmt.Fprintf(s.Stdout, "    nsenter -t %d --net tcpdump -ni %s              # what passes the uplink\n", pid, uplink)
	<-ctx.Done()
	return nil
}
