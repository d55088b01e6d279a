package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vip is the address of the site in each of its network namespaces.
const vip = "10.77.0.10"

// replicaNS is a network namespace as the pool makes them: with the VIP, with ports
// for all users, and without MPTCP.
func replicaNS(t testing.TB) *testutil.NS {
	t.Helper()
	ns := testutil.NetNS(t)
	lo, err := ns.Netlink().LinkByName("lo")
	if err == nil {
		err = ns.Netlink().AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP(vip))})
	}
	if err == nil {
		err = ns.Netlink().LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	ns.Sysctl(t, "net/ipv4/ip_unprivileged_port_start", "0")
	if _, err := os.Stat("/proc/sys/net/mptcp"); err == nil {
		ns.Sysctl(t, "net/mptcp/enabled", "0")
	}
	return ns
}

// needCRIU skips where CRIU cannot work, and says why.
func needCRIU(t testing.TB, m *Manager) *criu.Tool {
	t.Helper()
	tool, err := m.CRIU(testutil.Context(t, limit))
	if err != nil {
		t.Skipf("%s CRIU: %v", testutil.SkipMarker, err)
	}
	return tool
}

// get asks the site in a network namespace.
func get(t testing.TB, ns *testutil.NS, path string) string {
	t.Helper()
	var body string
	var err error
	ns.Do(t, func() { body, err = getHere(path) })
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return body
}

func getHere(path string) (string, error) {
	// Dialled on the thread that is in the namespace.
	ctx, cancel := context.WithTimeout(context.Background(), testutil.Timeout(limit))
	defer cancel()
	conn, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp", netip.AddrPortFrom(netip.MustParseAddr(vip), 80).String())
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+vip+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() // read to its end
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// counterSpec runs the server with state in a namespace.
func (e *env) counterSpec(ns *testutil.NS, args ...string) Spec {
	e.t.Helper()
	s := e.spec(append([]string{"counter", vip + ":80"}, args...)...)
	netns := ns.File(e.t)
	e.t.Cleanup(func() { _ = netns.Close() })
	s.Netns = netns
	s.SpecDigest, s.ImageDigest = "sha256:spec", "sha256:image"
	return s
}

// options are those that fit counterSpec.
func options() CheckpointOptions {
	return CheckpointOptions{SpecDigest: "sha256:spec", ImageDigest: "sha256:image", Warm: "3 answers"}
}

// park checkpoints a container and removes it.
func (e *env) park(c *Container, dir string, opts CheckpointOptions) criu.Manifest {
	e.t.Helper()
	ctx := testutil.Context(e.t, limit)
	m, err := c.Checkpoint(ctx, dir, opts)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := c.Kill(ctx); err != nil {
		e.t.Fatal(err)
	}
	if err := e.m.Remove(c.ID()); err != nil {
		e.t.Fatal(err)
	}
	return m
}

// restore restores a container that is removed with the test.
func (e *env) restore(spec Spec, dir string) *Container {
	e.t.Helper()
	c, timing, err := e.m.Restore(testutil.Context(e.t, limit), spec, dir)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, s := range timing.Steps {
		e.t.Logf("%-12s %8.2f ms", s.Name, float64(s.After.Microseconds())/1000)
	}
	e.t.Cleanup(func() { e.remove(c) })
	return c
}

func (e *env) checkpointDir() string { return filepath.Join(e.dir, "checkpoints", "site") }

func TestRootCheckpointAndRestore(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	before, after := replicaNS(t), replicaNS(t)
	spec := e.counterSpec(before, "0", "/var/kept")
	e.file("var/x", "", 0o644)
	c := e.start(spec)
	e.saw(spec, "listening")
	for i := 1; i <= 3; i++ {
		if got := get(t, before, "/count"); got != fmt.Sprint(i) {
			t.Fatalf("count %s instead of %d", got, i)
		}
	}
	begin := time.Now()
	m := e.park(c, e.checkpointDir(), options())
	t.Logf("dumped in %s: %d bytes, %d of memory", time.Since(begin), m.Bytes, m.Memory)

	next := e.counterSpec(after, "0", "/var/kept")
	next.LogDir = spec.LogDir + "-next"
	r := e.restore(next, e.checkpointDir())
	if got := get(t, after, "/count"); got != "4" {
		t.Fatalf("the restored site counts %s instead of 4", got)
	}
	e.saw(next, "count 4")
	if got := get(t, after, "/file"); got != "kept" {
		t.Errorf("the file has %q", got)
	}
	if _, err := os.Stat(e.checkpointDir()); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
	if !alive(r.init) || !alive(mustFind(t, r.Pid())) {
		t.Error("the restored init is not what the record says")
	}
	if err := r.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
	if exit := e.ended(r); exit.Code != 7 {
		t.Errorf("the restored site ended with %+v instead of 7", exit)
	}
}

func mustFind(t testing.TB, pid int) wire.Process {
	t.Helper()
	p, err := wire.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRootRestoredIsAsStarted compares all that a program can see of where it
// runs, before the dump and after the restore.
func TestRootRestoredIsAsStarted(t *testing.T) {
	withGroups(t, 0, 4) // like a daemon that somebody started by sudo
	for _, tt := range []struct {
		name string
		edit func(e *env, s *Spec)
	}{
		{"plain", func(*env, *Spec) {}},
		{"read-only", func(_ *env, s *Spec) { s.ReadOnlyRoot = true }},
		{"another user", func(e *env, s *Spec) {
			if !e.userns {
				testutil.RequireFeature(e.t, "CAP_SYS_RESOURCE")
			}
			s.User = "web"
		}},
		{"volumes", func(e *env, s *Spec) {
			rw, ro := filepath.Join(e.dir, "rw"), filepath.Join(e.dir, "ro")
			if err := errors.Join(os.MkdirAll(rw, 0o755), os.MkdirAll(ro, 0o755)); err != nil {
				e.t.Fatal(err)
			}
			s.Mounts = []Mount{{Source: rw, Target: "/data/rw"}, {Source: ro, Target: "/data/ro", ReadOnly: true}}
		}},
		{"volume by a link, with a mount inside", func(e *env, s *Spec) {
			link, inner := filepath.Join(e.dir, "current"), filepath.Join(e.dir, "1/sub/inner")
			s.Mounts = []Mount{{Source: link, Target: "/data/rw", Follow: true}}
			if err := os.MkdirAll(inner, 0o755); err != nil {
				e.t.Fatal(err)
			}
			if os.Symlink("1", link) != nil {
				return // made for the first of two specs
			}
			if err := unix.Mount("tmpfs", inner, "tmpfs", 0, ""); err != nil {
				e.t.Fatal(err)
			}
			e.m.pool.flush() // where mounts do not propagate, what waits does not see it
			e.m.flushRestores()
			e.t.Cleanup(func() {
				if err := unix.Unmount(inner, unix.MNT_DETACH); err != nil {
					e.t.Error(err)
				}
			})
		}},
	} {
		for _, own := range []bool{false, true} {
			name := tt.name
			if own {
				name += ", in a user namespace"
			}
			t.Run(name, func(t *testing.T) {
				e := newEnv(t)
				if own {
					e = e.private()
				}
				needCRIU(t, e.m)
				e.file("data/x", "", 0o644)
				before, after := replicaNS(t), replicaNS(t)
				spec, next := e.counterSpec(before), e.counterSpec(after)
				tt.edit(e, &spec)
				tt.edit(e, &next)
				next.Hostname = spec.Hostname // it is the processes' own
				c := e.start(spec)
				e.saw(spec, "listening")
				want := e.seen(c)
				e.park(c, e.checkpointDir(), options())
				got := e.seen(e.restore(next, e.checkpointDir()))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("a restored container differs from a started one (- started, + restored):\n%s", diff)
				}
			})
		}
	}
}

// withGroups gives this process supplementary groups until the test ends.
func withGroups(t *testing.T, groups ...int) {
	t.Helper()
	testutil.Privileged(t)
	before, err := syscall.Getgroups()
	if err == nil {
		err = syscall.Setgroups(groups)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setgroups(before); err != nil {
			t.Error(err)
		}
	})
}

// seen is what a container's program sees.
func (e *env) seen(c *Container) map[string]string {
	e.t.Helper()
	seen := map[string]string{}
	_, seen["files"] = e.execOut(c, ExecSpec{Args: []string{
		"/bin/guest", "cat", "/proc/1/cgroup", "/proc/1/cmdline", "/proc/1/environ", "/proc/1/limits", "/proc/1/oom_score_adj",
		"/proc/1/comm", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
	}}, "")
	_, status := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", "/proc/1/status"}}, "")
	for name, value := range fields(status) {
		switch name {
		case "Uid", "Gid", "Groups", "NSpid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigIgn", "SigCgt", "SigBlk", "Umask":
			seen[name] = value
		}
	}
	_, list := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "mounts"}}, "")
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(list), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, i := range infos {
		if i.Mountpoint == "/" {
			i.VFSOptions = "" // they name descriptors
		}
		seen["mount "+i.Mountpoint] = fmt.Sprint(i.Root, " ", i.FSType, " ", sortedOptions(i.Options), " ", sortedOptions(i.VFSOptions), " ", i.Optional != "")
	}
	_, seen["fds"] = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "links", "/proc/1/fd"}}, "")
	_, seen["/dev"] = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "list", "/dev"}}, "")
	_, seen["/sys/class/net"] = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "list", "/sys/class/net"}}, "")
	_, seen["users"] = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", "/proc/1/uid_map", "/proc/1/gid_map"}}, "")
	_, seen["owners"] = e.execOut(c, ExecSpec{Args: []string{
		"/bin/guest", "owners", "/", "/dev", "/dev/null", "/dev/shm", "/dev/pts", "/proc/1", "/proc/1/fd", "/proc/1/fd/1", "/proc/1/fd/2", "/sys/fs/cgroup", "/etc/hosts",
	}}, "")
	if c.state.IDs != 0 { // which numbers it has on the machine is different each time
		ttys := strings.NewReplacer(fmt.Sprint(c.state.IDs), "ROOT", fmt.Sprint(c.state.IDs+5), "TTY")
		for name := range seen {
			seen[name] = ttys.Replace(seen[name])
		}
	}
	return seen
}

func sortedOptions(s string) string {
	all := strings.Split(s, ",")
	slices.Sort(all)
	return strings.Join(all, ",")
}
