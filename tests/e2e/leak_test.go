package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// holdings count what a node holds while all of its sites sleep.
func (n *node) holdings() map[string]int {
	n.t.Helper()
	count := map[string]int{}
	fds := fmt.Sprintf("/proc/%d/fd", n.daemon.Process.Pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(fds, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(target, ":[")
		if strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			kind = "file of " + filepath.Base(target)
		}
		count["descriptor of "+kind]++
	}
	for what, dir := range map[string]string{
		"cgroup": filepath.Join("/sys/fs/cgroup", n.id, "*/cgroup.procs"), "replica": n.run("replicas/*"), "root file system": n.run("rootfs/*"),
		"upper layer": n.path("state/replicas/*"), "link pin": n.pins() + "/links/*",
	} {
		found, err := filepath.Glob(dir)
		if err != nil {
			n.t.Fatal(err)
		}
		count[what] = len(found)
	}
	links, err := n.ns.Netlink().LinkList()
	if err != nil {
		n.t.Fatal(err)
	}
	count["link"] = len(links)
	for _, name := range []string{"fc_sites", "fc_replicas", "fc_netns", "fc_veths", "fc_hold_counts"} {
		count["entry of "+name] = n.entries(name)
	}
	return count
}

// entries counts those of a pinned map.
func (n *node) entries(name string) (count int) {
	n.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(n.pins(), "maps", name), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		n.t.Fatal(err)
	}
	defer m.Close()
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	for it := m.Iterate(); it.Next(&key, &value); {
		count++
	}
	return count
}

// TestRootCyclesLeaveNothingBehind: a hundredth wake leaves no more behind than a first.
func TestRootCyclesLeaveNothingBehind(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	good, bad := n.deploy("good"), n.deploy("bad", "command: [/no/such/program]")
	cycle := func() {
		n.outside.greet(good.addr4(80))
		n.local.greet(good.addr6(80))
		good.park()
		if _, err := n.api.Wake(n.ctx(), bad.name); err == nil {
			t.Error("the bad site was woken")
		}
	}
	for range 3 {
		cycle()
	}
	good.park()
	before := n.quiet()
	// A daemon that stood still for a moment may have seemed to be at rest with something left to make, or to take away.
	// What each wake leaves behind is more after each round.
	const most = 4
	var more []string
	for range most {
		for range few(20) {
			cycle()
		}
		now := n.quiet()
		if more = moreThan(before, now); len(more) == 0 {
			return
		}
		t.Logf("after %d wakes more than before: %q", few(20), more)
		before = now
	}
	t.Errorf("after each of %d rounds of %d wakes there was more than before it, at last %q", most, few(20), more)
}

// quiet waits until a node whose sites sleep holds the same for a while.
func (n *node) quiet() (now map[string]int) {
	n.t.Helper()
	last := map[string]int{}
	same := 0
	testutil.WaitFor(n.t, patience, "the node to come to rest", func() error {
		now = n.holdings()
		if same++; !maps.Equal(now, last) {
			same = 0
		}
		last = now
		if same < 20 {
			return errors.New("it is still changing")
		}
		return nil
	})
	return now
}

// moreThan lists what there is more of than before.
func moreThan(before, now map[string]int) (more []string) {
	for what, count := range now {
		if count > before[what] {
			more = append(more, fmt.Sprintf("%s: %d, was %d", what, count, before[what]))
		}
	}
	slices.Sort(more)
	return more
}

// TestRootKilledMonitor: a replica whose monitor is killed is ended, and its site woken anew by the next visitor.
func TestRootKilledMonitor(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("watched")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	mark := n.mark()
	if err := unix.Kill(monitor(t, pid), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// That of a replica which has lived for a while is no failure of the site.
	if ev := s.await(mark, "failed", "exited"); !strings.Contains(ev.Reason, "monitor") {
		t.Errorf("it ended because of %q", ev.Reason)
	}
	testutil.WaitExit(t, patience, pid)
	s.awaitPhase(api.PhaseParked)
	n.outside.greet(s.addr4(80))
	n.checkReplicas(s)
}

// monitor is the shim of a container. For a moment the process that made the container is still its parent.
func monitor(t *testing.T, pid int) (shim int) {
	t.Helper()
	testutil.WaitFor(t, patience, "the monitor to be the container's parent", func() error {
		shim = parent(t, pid)
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", shim))
		if name := strings.TrimSpace(string(comm)); err == nil && name != "fcnode-monitor" {
			err = fmt.Errorf("it is %s", name)
		}
		return err
	})
	return shim
}

// parent is a process's parent.
func parent(t *testing.T, pid int) (ppid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	var state string
	if _, err := fmt.Sscan(rest, &state, &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}
