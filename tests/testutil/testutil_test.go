package testutil

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestTimeScale(t *testing.T) {
	for in, want := range map[string]float64{"": 1, "1": 1, "7.5": 7.5} {
		if got := timeScale(in); got != want {
			t.Errorf("timeScale(%q) = %v, want %v", in, got, want)
		}
	}
	for _, bad := range []string{"0.5", "-3", "fast"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("timeScale(%q) was accepted", bad)
				}
			}()
			timeScale(bad)
		}()
	}
}

func TestUnique(t *testing.T) {
	a, b := Unique(t), Unique(t)
	if a == b || len(a) > 11 {
		t.Errorf("Unique gave %q and %q", a, b)
	}
}

func TestSnapshotSeesFileDescriptor(t *testing.T) {
	before, err := takeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	leaks, err := before.leaks(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaks) != 1 || !strings.Contains(leaks[0], "pipe (2 more") {
		t.Errorf("two leaked ends of a pipe are reported as %q", leaks)
	}
	_ = r.Close()
	_ = w.Close()
	if leaks, err = before.leaks(Timeout(endsWithin)); err != nil || len(leaks) != 0 {
		t.Errorf("after closing: %q, %v", leaks, err)
	}
}

func TestWaitLineAndExit(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo one; echo ready now")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := WaitLine(t, 10*time.Second, bufio.NewReader(out), "ready"); got != "ready now" {
		t.Errorf("WaitLine = %q", got)
	}
	WaitExit(t, 10*time.Second, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestRootSandbox(t *testing.T) {
	Privileged(t)
	links, err := net.Interfaces()
	if err != nil || len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("links inside of the sandbox: %v, %v; want lo, up", links, err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.Contains(string(own), "0::/"+ownCgroup+"\n") {
		t.Errorf("own cgroup: %q, %v; want /%s", own, err, ownCgroup)
	}
	if _, err := os.Stat("/sys/fs/cgroup/" + ownCgroup + "/cgroup.procs"); err != nil {
		t.Errorf("no cgroup2 on /sys/fs/cgroup: %v", err)
	}
	pins, err := filepath.Glob("/sys/fs/bpf/fcnode*")
	if err != nil || len(pins) != 0 {
		t.Errorf("bpffs holds %v (%v); want a fresh one", pins, err)
	}
}

func TestRootCable(t *testing.T) {
	Privileged(t)
	RequireFeature(t, "veth")
	a, b := NetNS(t), NetNS(t)
	if a.Cookie(t) == b.Cookie(t) {
		t.Error("two namespaces have the same cookie")
	}
	Cable(t, a, b, "c0",
		[]netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
		[]netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::2/64")})
	for _, addr := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
		var l net.Listener
		b.Do(t, func() {
			var err error
			if l, err = net.Listen("tcp", addr); err != nil {
				t.Fatal(err)
			}
		})
		a.Do(t, func() {
			c, err := net.DialTimeout("tcp", addr, Timeout(endsWithin))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		})
		_ = l.Close()
	}
}
