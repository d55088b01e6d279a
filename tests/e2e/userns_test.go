package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootUserns: a site with a user namespace of its own serves, also when it was adopted and when it was put to sleep, on disk
// where this machine can, as a user of the machine without rights. A volume whose owners cannot be mapped is refused where its
// line is.
func TestRootUserns(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	testutil.NeedMapping(t, n.dir)
	data := n.path("data")
	if err := errors.Join(os.Mkdir(data, 0o750), os.Chown(data, 33, 33)); err != nil {
		t.Fatal(err)
	}
	cannot := n.path("cannot")
	file := n.write("bad.yaml", n.spec("bad")+"userns: private\nvolumes: [{source: "+cannot+", target: /a}]\n")
	if err := errors.Join(os.Mkdir(cannot, 0o755), unix.Mount("proc", cannot, "proc", 0, "")); err != nil {
		t.Fatal(err)
	}
	line := strings.Count(n.spec("bad"), "\n") + 2
	out := n.cliFails("apply", "-f", file)
	if err := unix.Unmount(cannot, 0); err != nil {
		t.Fatal(err)
	}
	says(t, "apply", out, fmt.Sprintf("%s:%d:", file, line), "volumes[0].source", "mapped owners", "userns: host")
	if got := n.list(); len(got) > 0 {
		t.Errorf("applied: %q", got)
	}

	s := n.deploy("own", "userns: private", "idle: 1h", "tiers: [frozen, {tier: prepared, after: 2h}, {tier: checkpointed, after: 3h}]",
		"volumes: [{source: "+data+", target: /data}]", "checkpoint: {warm: 1}")
	serves := func() {
		t.Helper()
		n.outside.greet(s.addr4(80))
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join("/proc", fmt.Sprint(s.pid())), &st); err != nil || st.Uid < 1879048192 {
			t.Errorf("its first process is user %d's of the machine, %v", st.Uid, err)
		}
	}
	serves()
	n.kill()
	n.start() // adopted
	serves()
	_, noCRIU := criu.Find(t.Context(), "")
	for range 2 {
		mark := n.mark()
		testutil.WaitFor(t, patience, "the site to be parked", func() error { // who asks without force waits until nobody can be coming
			_, err := n.api.Park(n.ctx(), s.name, false)
			return err
		})
		if noCRIU == nil {
			s.awaitTier(api.TierCheckpointed)
		}
		serves()
		if noCRIU == nil {
			checkRestore(t, s, mark)
		}
	}
}

// TestRootUsernsOfTheNode: sites have user namespaces of their own, each replica another range of users, unless a spec says
// otherwise; where the node requires them such a spec is refused where its line is, and so is the next start of a site that had
// it before. What waits for such sites when the daemon is killed leaves nothing.
func TestRootUsernsOfTheNode(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	testutil.NeedMapping(t, n.dir)
	owner := func(s *site) uint32 {
		t.Helper()
		n.outside.greet(s.addr4(80))
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join("/proc", fmt.Sprint(s.pid())), &st); err != nil {
			t.Fatal(err)
		}
		return st.Uid
	}
	silent, other, host := n.deploy("silent"), n.deploy("other"), n.deploy("host", "userns: host")
	a, b, c := owner(silent), owner(other), owner(host)
	if a == b || a < 1879048192 || b < 1879048192 || c != 0 {
		t.Errorf("their first processes are of the users %d, %d and, with userns: host, %d", a, b, c)
	}
	n.kill()
	n.configure(options{more: "privileges: {userns: required}"})
	n.start()
	if again := owner(silent); again != a {
		t.Errorf("an adopted site is of user %d, and was of %d", again, a)
	}
	file := n.write("bad.yaml", n.spec("fine")+"---\n"+n.spec("bad")+"userns: host\n")
	line := strings.Count(n.spec("fine"), "\n") + 1 + strings.Count(n.spec("bad"), "\n") + 1
	says(t, "apply", n.cliFails("apply", "-f", file), fmt.Sprintf("%s:%d:", file, line), "userns", "privileges.userns")
	host.park()
	mark := n.mark()
	if conn, err := n.outside.connect(host.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v %v, want it refused", conn, err)
	}
	if ev := host.await(mark, "failed"); !strings.Contains(ev.Reason, "privileges.userns") {
		t.Errorf("the event says %q", ev.Reason)
	}
}
