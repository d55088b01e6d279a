package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// TestRootRights: what a site's root can do by default, what more capabilities
// give him and what fewer take, and that all can ping.
func TestRootRights(t *testing.T) {
	e := newEnv(t)
	const refused = "operation not permitted"
	for name, tt := range map[string]struct {
		change func(*Privileges)
		want   []string
	}{
		"default": {func(*Privileges) {}, []string{
			"packet socket: " + refused, "raw socket: " + refused, "node: " + refused, "file capability: " + refused, "chown: <nil>",
		}},
		"more": {func(p *Privileges) {
			p.Capabilities = append(p.Capabilities, "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETFCAP")
		}, []string{"packet socket: <nil>", "raw socket: <nil>", "node: <nil>", "file capability: <nil>", "chown: <nil>"}},
		"none": {func(p *Privileges) { p.Capabilities = nil }, []string{
			"packet socket: " + refused, "raw socket: " + refused, "node: " + refused, "file capability: " + refused, "chown: chown /tmp-file: " + refused,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := e.spec("rights")
			tt.change(&spec.Privileges)
			_, out := e.run(spec)
			for _, want := range tt.want {
				if !strings.Contains(out, want+"\n") {
					t.Errorf("want %q in\n%s", want, out)
				}
			}
		})
	}
	spec := e.spec("ping")
	spec.User = "web"
	netns := replicaNS(t).File(t)
	defer netns.Close()
	spec.Netns = netns
	if _, out := e.run(spec); out != "user 1000 answer of 8 <nil>\n" {
		t.Errorf("ping: %q", out)
	}
}

// TestRootNewPrivileges: a set-user-ID program has its owner's rights where the
// site may have new ones, within the site's capabilities and behind its filter, in started,
// prepared and executed processes; and nowhere else.
func TestRootNewPrivileges(t *testing.T) {
	e := newEnv(t)
	guest, err := os.ReadFile(filepath.Join(e.lower, "bin/guest"))
	if err != nil {
		t.Fatal(err)
	}
	e.file("bin/suid", string(guest), 0o755)
	if err := os.Chmod(filepath.Join(e.lower, "bin/suid"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	none := "0000000000000000"
	for name, tt := range map[string]struct {
		privileges Privileges
		uid, caps  string
		nnp        string
	}{
		"default": {defaultPrivileges(), "1000\t1000\t1000\t1000", none, "1"},
		"new":     {Privileges{Capabilities: []string{"CAP_CHOWN", "CAP_SETUID"}, New: true}, "1000\t0\t0\t0", "0000000000000081", "0"},
	} {
		check := func(what, out string) {
			got := fields(out)
			for field, want := range map[string]string{"Uid": tt.uid, "CapEff": tt.caps, "CapPrm": tt.caps, "NoNewPrivs": tt.nnp, "Seccomp": "2"} {
				if got[field] != want {
					t.Errorf("%s, %s: %s is %q, want %q", name, what, field, got[field], want)
				}
			}
		}
		for _, readOnly := range []bool{false, true} {
			spec := e.spec("become", "/bin/suid", "cat", "/proc/self/status")
			spec.User, spec.Privileges, spec.ReadOnlyRoot = "web", tt.privileges, readOnly
			_, out := e.run(spec)
			check(fmt.Sprintf("started, read-only %v", readOnly), out)
		}
		spec := e.spec("become", "/bin/suid", "cat", "/proc/self/status")
		spec.User, spec.Privileges = "web", tt.privileges
		p, _, err := e.m.Prepare(testutil.Context(t, limit), spec)
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := p.Open(testutil.Context(t, limit))
		if err != nil {
			t.Fatal(err)
		}
		e.ended(c)
		check("prepared", e.output(spec))
		e.remove(c)

		spec = e.spec("sleep")
		spec.User, spec.Privileges = "web", tt.privileges
		c = e.start(spec)
		e.saw(spec, "sleeping")
		_, out := e.execOut(c, ExecSpec{Args: []string{"/bin/suid", "cat", "/proc/self/status"}, User: "web"}, "")
		check("executed", out)
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "syscall", fmt.Sprint(unix.SYS_UNSHARE)}}, ""); out != "errno 1\n" {
			t.Errorf("%s: unshare in exec: %q", name, out)
		}
	}
}

// TestRootNewPrivilegesRestored: a restore gives a site what it had, and an image
// of processes with other privileges than the site has now is not used.
func TestRootNewPrivilegesRestored(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	guest, err := os.ReadFile(filepath.Join(e.lower, "bin/guest"))
	if err != nil {
		t.Fatal(err)
	}
	e.file("bin/suid", string(guest), 0o755)
	if err := os.Chmod(filepath.Join(e.lower, "bin/suid"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "0", "/dev/shm/kept")
	spec.Privileges.New, spec.ReadOnlyRoot = true, true
	c := e.start(spec)
	e.saw(spec, "listening")
	e.park(c, e.checkpointDir(), options())

	again := e.counterSpec(ns, "0", "/dev/shm/kept")
	again.Privileges, again.ReadOnlyRoot = spec.Privileges, true
	restored := e.restore(again, e.checkpointDir())
	_, out := e.execOut(restored, ExecSpec{Args: []string{"/bin/suid", "cat", "/proc/self/status"}, User: "web"}, "")
	if got := fields(out); got["Uid"] != "1000\t0\t0\t0" || got["NoNewPrivs"] != "0" {
		t.Errorf("a set-user-ID program in a restored container: %s", out)
	}
	e.park(restored, e.checkpointDir(), options())

	fewer := e.counterSpec(ns, "0", "/dev/shm/kept")
	fewer.Privileges.Capabilities = slices.DeleteFunc(fewer.Privileges.Capabilities, func(c string) bool { return c == "CAP_CHOWN" })
	fewer.ReadOnlyRoot = true
	if _, _, err := e.m.Restore(testutil.Context(t, limit), fewer, e.checkpointDir()); !errors.Is(err, criu.ErrUnusable) || !strings.Contains(err.Error(), "other privileges") {
		t.Errorf("restoring with fewer privileges: %v", err)
	}
}

// TestRootResourceLimits: those of a container do not depend on its daemon's.
func TestRootResourceLimits(t *testing.T) {
	e := newEnv(t)
	for kind, low := range map[int]uint64{unix.RLIMIT_CORE: 1 << 20, unix.RLIMIT_MSGQUEUE: 4096, unix.RLIMIT_MEMLOCK: 4096} {
		var was unix.Rlimit
		if err := unix.Prlimit(0, kind, nil, &was); err != nil {
			t.Fatal(err)
		}
		if err := unix.Prlimit(0, kind, &unix.Rlimit{Cur: min(low, was.Max), Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
		defer unix.Prlimit(0, kind, &was, nil) //nolint:errcheck // as it was
	}
	e.m = e.manager("/" + testutil.Unique(t) + "-limits") // its runners are started now
	spec := e.spec("cat", "/proc/self/limits")
	_, out := e.run(spec)
	for _, l := range []struct {
		name       string
		kind       int
		soft, hard uint64
	}{
		{"Max core file size", unix.RLIMIT_CORE, 0, 0}, {"Max msgqueue size", unix.RLIMIT_MSGQUEUE, 819200, 819200},
		{"Max locked memory", unix.RLIMIT_MEMLOCK, 8 << 20, 8 << 20}, {"Max open files", unix.RLIMIT_NOFILE, 65536, 524288},
		{"Max processes", unix.RLIMIT_NPROC, unix.RLIM_INFINITY, unix.RLIM_INFINITY},
	} {
		var own unix.Rlimit
		if err := unix.Prlimit(0, l.kind, nil, &own); err != nil {
			t.Fatal(err)
		}
		text := func(n uint64) string {
			if n = min(n, own.Max); n == unix.RLIM_INFINITY {
				return "unlimited"
			}
			return fmt.Sprint(n)
		}
		_, line, _ := strings.Cut(out, l.name)
		if f := strings.Fields(line); len(f) < 2 || f[0] != text(l.soft) || f[1] != text(l.hard) {
			t.Errorf("%s: %.2q, want %s %s", l.name, f, text(l.soft), text(l.hard))
		}
	}
}

// TestRootOOMScore: where the machine has no memory left, processes of containers are to be ended before others, however they came to
// life, and root in them cannot change that. The daemon is protected as its unit does it, where this machine allows that.
func TestRootOOMScore(t *testing.T) {
	testutil.Privileged(t)
	const file = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("-900"), 0); err == nil {
		t.Cleanup(func() {
			if err := os.WriteFile(file, before, 0); err != nil {
				t.Error(err)
			}
		})
	}
	eachContainer(t, func(e *env, c *Container) {
		score := func(of string) string {
			t.Helper()
			_, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", of}}, "")
			return strings.TrimSpace(out)
		}
		for _, of := range []string{"/proc/1/oom_score_adj", file} {
			if got := score(of); got != "500" {
				t.Errorf("%s: %s of %s is %q", e.t.Name(), "oom_score_adj", of, got)
			}
		}
		for _, of := range []string{"/proc/1/oom_score_adj", file} {
			if status, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "write", of, "-900"}}, ""); status == 0 {
				t.Errorf("%s: root made itself as safe as the daemon by %s: %s", e.t.Name(), of, out)
			}
		}
	})
}
