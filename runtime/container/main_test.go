package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/logs"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) {
	if os.Getenv(envDaemon) != "" {
		os.Exit(daemonMain())
	}
	testutil.Main(m)
}

// limit is how long a test waits for what should take milliseconds.
const limit = 20 * time.Second

// binDir has the programs: what the rig has built, or what is built here once.
var binDir = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("FCNODE_BIN_DIR"); dir != "" {
		return dir, nil
	}
	dir := filepath.Join(os.TempDir(), "fcnode-container-test-bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, b := range []struct {
		name, pkg, cgo string
		flags          []string
	}{
		{"fcnode-runner", "github.com/fcnode/fcnode/cmd/fcnode-runner", "1", []string{"-tags=seccomp,netgo,osusergo", "-ldflags=-extldflags=-static"}},
		{"fcnode-shim", "github.com/fcnode/fcnode/cmd/fcnode-shim", "0", nil},
		{"container-guest", "./testdata/guest", "0", nil},
		{"container-otherversion", "./testdata/otherversion", "0", nil},
	} {
		args := append([]string{"build", "-o", filepath.Join(dir, b.name)}, b.flags...)
		cmd := exec.Command("go", append(args, b.pkg)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", b.name, err, out)
		}
	}
	out, err := exec.Command("../../packaging/monitor.sh", filepath.Join(dir, "fcnode-monitor")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building fcnode-monitor: %w\n%s", err, out)
	}
	return dir, nil
})

// env is a Manager with all it needs, and a root file system with the guest.
type env struct {
	t      testing.TB
	m      *Manager
	dir    string
	runDir string // a tmpfs, as /run is
	ns     *testutil.NS
	lower  string
	n      int
	userns bool // of the specs

	profile string // of AppArmor, the same
}

func newEnv(t testing.TB) *env {
	t.Helper()
	testutil.Privileged(t)
	e := &env{t: t, dir: t.TempDir(), runDir: "/run/" + testutil.Unique(t), ns: testutil.NetNS(t)}
	t.Cleanup(func() {
		if err := os.RemoveAll(e.runDir); err != nil {
			t.Error(err)
		}
	})
	e.m = e.manager("/" + testutil.Unique(t))
	e.lower = filepath.Join(e.dir, "lower")
	bin, err := binDir()
	if err != nil {
		t.Fatal(err)
	}
	guest, err := os.ReadFile(filepath.Join(bin, "container-guest"))
	if err != nil {
		t.Fatal(err)
	}
	e.file("bin/guest", string(guest), 0o755)
	e.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n", 0o644)
	e.file("etc/group", "root:x:0:\nweb:x:1001:\nextra:x:1002:web\n", 0o644)
	return e
}

// manager makes a Manager that is closed, and its cgroup removed, with the test.
func (e *env) manager(cgroupRoot string, more ...func(*Options)) *Manager {
	e.t.Helper()
	bin, err := binDir()
	if err != nil {
		e.t.Fatal(err)
	}
	opts := Options{
		AdoptTimeout: testutil.Timeout(20 * time.Second), RestoreTimeout: testutil.Timeout(10 * time.Second),
		RunnerPath: filepath.Join(bin, "fcnode-runner"), RunDir: e.runDir, InitDir: filepath.Join(e.dir, "init"),
		CgroupRoot: cgroupRoot, VolumeRoots: []string{"/"}, Ahead: 1, LogMaxSize: 1 << 20, LogFiles: 3,
		Log: slog.New(slog.NewTextHandler(e.t.Output(), nil)),
	}
	for _, f := range more {
		f(&opts)
	}
	m, err := NewManager(opts)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := errors.Join(m.Close(), m.Parent().Remove()); err != nil {
			e.t.Error(err)
		}
	})
	return m
}

// file puts a file into the image.
func (e *env) file(name, content string, mode os.FileMode) {
	e.t.Helper()
	path := filepath.Join(e.lower, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode)); err != nil {
		e.t.Fatal(err)
	}
}

// spec runs the guest with args.
func (e *env) spec(args ...string) Spec {
	e.t.Helper()
	e.n++
	netns := e.ns.File(e.t)
	e.t.Cleanup(func() { _ = netns.Close() })
	id := fmt.Sprintf("site-%d", e.n)
	return Spec{
		ID: id, Site: "site", Lower: []string{e.lower}, Netns: netns, Args: append([]string{"/bin/guest"}, args...),
		Upper: filepath.Join(e.dir, "replicas", id, "upper"), Work: filepath.Join(e.dir, "replicas", id, "work"),
		LogDir: filepath.Join(e.dir, "logs", id), Hostname: "host-" + id,
		ResolvConf: "nameserver 127.0.0.1\n", Hosts: "127.0.0.1 localhost\n",
		Privileges: e.privileges(), Userns: e.userns,
	}
}

func (e *env) privileges() Privileges {
	p := defaultPrivileges()
	p.AppArmor = e.profile
	return p
}

// defaultPrivileges are those of a site whose spec says nothing of them.
func defaultPrivileges() Privileges {
	return Privileges{Capabilities: []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID",
		"CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}}
}

// start starts a container that is removed with the test.
func (e *env) start(spec Spec) *Container {
	e.t.Helper()
	c, _, err := e.m.Start(testutil.Context(e.t, limit), spec)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { e.remove(c) })
	return c
}

func (e *env) remove(c *Container) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testutil.Timeout(limit))
	defer cancel()
	err := c.Kill(ctx)
	if err == nil {
		err = c.m.Remove(c.ID())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.t.Error(err)
	}
}

// run starts a container, waits for its end and gives its output.
func (e *env) run(spec Spec) (ExitStatus, string) {
	e.t.Helper()
	c := e.start(spec)
	exit := e.ended(c)
	return exit, e.output(spec)
}

func (e *env) ended(c *Container) ExitStatus {
	e.t.Helper()
	testutil.WaitClosed(e.t, limit, "the end of container "+c.ID(), c.Exited())
	exit, _ := c.Exit()
	return exit
}

// output is what the log has, without the frame of its lines.
func (e *env) output(spec Spec) string {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(spec.LogDir, "output.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.t.Fatal(err)
	}
	var out strings.Builder
	s := bufio.NewScanner(strings.NewReader(string(b)))
	for s.Scan() {
		l, err := logs.Parse(s.Bytes())
		if err != nil {
			e.t.Fatal(err)
		}
		if l.Replica != spec.ID {
			e.t.Fatalf("a line of %q in the log of %q", l.Replica, spec.ID)
		}
		out.WriteString(l.Text + "\n")
	}
	return out.String()
}

// saw waits until the log has a line.
func (e *env) saw(spec Spec, line string) {
	e.t.Helper()
	testutil.WaitFor(e.t, limit, fmt.Sprintf("%q in the log", line), func() error {
		if out := e.output(spec); !strings.Contains(out, line) {
			return fmt.Errorf("the log has %q", out)
		}
		return nil
	})
}

// alive reports whether a process runs (a zombie does not).
func alive(p wire.Process) bool {
	fd, err := p.Open()
	if err != nil {
		return false
	}
	defer fd.Close() // a pidfd
	over, err := wire.Ended(fd)
	return err == nil && !over
}
