package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootUpdateUnderLoad: while a running site is replaced by one of a new spec nobody who connects is turned away.
func TestRootUpdateUnderLoad(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	s := n.deploy("blog", "hostname: old")
	if host := n.outside.greet(s.addr4(80)); host != "old" {
		t.Errorf("before the update the host is called %q", host)
	}
	ctx, stop := context.WithCancel(t.Context())
	var visits atomic.Int64
	var turnedAway atomic.Pointer[error]
	visitors := later(func() error {
		return visit(4, func(i int) error {
			c, to := []*client{n.outside, n.local}[i%2], []netip.AddrPort{s.addr4(80), s.addr6(80)}[i/2]
			for ctx.Err() == nil {
				_, err := c.get(to, "/")
				// A request that is being answered when its replica is told to end is the application's to finish.
				if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
					turnedAway.Store(&err)
				}
				visits.Add(1)
			}
			return nil
		})
	})
	for _, name := range []string{"new", "newer"} {
		mark := n.mark()
		if got := n.deploy("blog", "hostname: "+name); got.v4 != s.v4 || got.v6 != s.v6 {
			t.Errorf("the addresses were %v %v, and are %v %v", s.v4, s.v6, got.v4, got.v6)
		}
		s.await(mark, "draining") // from here on the old one gets no new visitors
		if host := n.outside.greet(s.addr4(80)); host != name {
			t.Errorf("after the update to %q the host is called %q", name, host)
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d starts for an update: %q", got, s.story(mark))
		}
	}
	stop()
	if err := testutil.Receive(t, patience, "the visitors to go", visitors); err != nil {
		t.Error(err)
	}
	if err := turnedAway.Load(); err != nil {
		t.Errorf("in %d visits somebody could not connect: %v", visits.Load(), *err)
	}
}

func TestRootUnchangedSpecChangesNothing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("same")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	res, err := n.api.Apply(n.ctx(), n.parse(n.spec("same")), false)
	if err != nil || res[0].Action != api.ActionUnchanged {
		t.Errorf("applying it again: %+v, %v", res, err)
	}
	n.outside.greet(s.addr4(80))
	if now := s.pid(); now != pid {
		t.Errorf("process %d became %d", pid, now)
	}
}

// TestRootApplyIsAllOrNothing: one site that cannot be applied keeps back all others of the same call, and harms none
// that is there.
func TestRootApplyIsAllOrNothing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("there", "domains: [there.example]", "addresses: [10.77.3.3]")
	if s.v4 != netip.MustParseAddr("10.77.3.3") || !s.v6.IsValid() {
		t.Errorf("the site has the addresses %v and %v", s.v4, s.v6)
	}
	n.outside.greet(s.addr4(80))
	pid, before := s.pid(), n.list()
	for name, c := range map[string]struct{ bad, want string }{
		"domain of another":      {n.spec("bad", "domains: [there.example]"), "there.example"},
		"address of another":     {n.spec("bad", "addresses: [10.77.3.3]"), "10.77.3.3"},
		"address of nobody here": {n.spec("bad", "addresses: [192.0.2.1]"), "192.0.2.1"},
		"missing image":          {strings.Replace(n.spec("bad"), n.image(), "dir:/no/such/folder", 1), "/no/such/folder"},
		"another address":        {n.spec("there", "domains: [there.example]", "addresses: [10.77.3.4]"), "10.77.3.3"},
	} {
		_, err := n.api.Apply(n.ctx(), n.parse(n.spec("good"), c.bad), false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error about %s", name, err, c.want)
		}
		if after := n.list(); !slices.Equal(before, after) {
			t.Errorf("%s: the sites were %q, and are %q", name, before, after)
		}
	}
	n.kill() // nor is anything on disk
	n.start()
	if after := n.list(); !slices.Equal(before, after) {
		t.Errorf("after a restart: the sites were %q, and are %q", before, after)
	}
	n.outside.greet(s.addr4(80))
	if now := s.pid(); now != pid {
		t.Errorf("process %d became %d", pid, now)
	}
}

func TestRootDryRun(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	n.deploy("there")
	before := n.list()
	res, err := n.api.Apply(n.ctx(), n.parse(n.spec("there", "idle: 7m"), n.spec("fresh")), true)
	if err != nil || len(res) != 2 || res[0].Action != api.ActionUpdated || res[1].Action != api.ActionCreated {
		t.Errorf("dry run: %+v, %v", res, err)
	}
	if after := n.list(); !slices.Equal(before, after) {
		t.Errorf("the sites were %q, and are %q", before, after)
	}
}

func TestRootDeleteWithOpenConnection(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("doomed", "stop: {grace: 500ms}")
	held := later(func() error {
		_, err := n.outside.get(s.addr4(80), "/hold")
		return err
	})
	s.awaitConns(1)
	pid := s.pid()
	if err := n.api.Delete(n.ctx(), s.name); err != nil {
		t.Fatal(err)
	}
	if err := testutil.Receive(t, patience, "the end of the open connection", held); err == nil {
		t.Error("the held answer came to a good end")
	}
	testutil.WaitExit(t, patience, pid)
	for _, c := range []*client{n.outside, n.local} {
		c.refused(n, s.addr4(80))
		c.refused(n, s.addr6(80))
	}
	if _, err := n.api.Get(n.ctx(), s.name); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("get: %v, want that it is not found", err)
	}
	if err := n.api.Delete(n.ctx(), s.name); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("deleting it again: %v, want that it is not found", err)
	}
	again := n.deploy("heir", "addresses: ["+s.v4.String()+"]")
	if host := n.outside.greet(again.addr4(80)); host != "heir" {
		t.Errorf("the address is answered by %q", host)
	}
}

// awaitConns waits until the site has so many connections.
func (s *site) awaitConns(want uint64) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "connections", func() error {
		if got := s.get().Conns.Now; got != want {
			return fmt.Errorf("there are %d, want %d", got, want)
		}
		return nil
	})
}

// TestRootDeleteWhileWaking: visitors of a site that is deleted under them are refused.
func TestRootDeleteWhileWaking(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("never", "env: {GUEST: deaf}")
	mark := n.mark()
	held := later(func() error {
		_, err := n.outside.connect(s.addr4(80))
		return err
	})
	s.await(mark, "waking")
	if err := n.api.Delete(n.ctx(), s.name); err != nil {
		t.Fatal(err)
	}
	if err := testutil.Receive(t, patience, "the visitor", held); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the visitor got %v, want to be refused", err)
	}
}

// TestRootSitesFolder: its files are the sites; a mistake in one of them changes nothing.
func TestRootSitesFolder(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.write("sites/one.yaml", n.spec("one"))
	n.start()
	one := n.find("one")
	n.outside.greet(one.addr4(80))
	pid := one.pid()

	n.write("sites/two.yaml", n.spec("two")+"imagge: typo\n")
	mark := n.mark()
	n.reload()
	ev := n.await(mark, "invalid")
	if !strings.Contains(ev.Text, "two.yaml") || !strings.Contains(ev.Text, "imagge") {
		t.Errorf("the event does not say where and what is wrong: %q", ev.Text)
	}
	n.outside.greet(one.addr4(80))
	n.stop()
	n.start() // the mistake is still there
	if got := n.list(); len(got) != 1 || one.pid() != pid {
		t.Errorf("a mistake in the folder has changed the sites: %q", got)
	}

	n.write("sites/two.yaml", n.spec("two"))
	mark = n.mark()
	n.reload()
	n.awaitSite(mark, "two", "applied")
	if host := n.outside.greet(n.find("two").addr4(80)); host != "two" {
		t.Errorf("two is answered by %q", host)
	}
	mine := n.deploy("mine") // not of the folder
	if err := os.Remove(n.path("sites/one.yaml")); err != nil {
		t.Fatal(err)
	}
	mark = n.mark()
	n.reload()
	n.awaitSite(mark, "one", "deleted")
	n.outside.refused(n, one.addr4(80))
	n.outside.greet(mine.addr4(80))
}

// reload tells the daemon that the folder has changed.
func (n *node) reload() {
	n.t.Helper()
	if err := n.daemon.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
}

// find returns a site that is there.
func (n *node) find(name string) *site {
	n.t.Helper()
	v, err := n.api.Get(n.ctx(), name)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &site{n: n, name: name}
	for _, a := range v.Addresses {
		s.setAddr(a)
	}
	return s
}

// TestRootAlwaysAwake: scale.min keeps a replica, whatever happens to it.
func TestRootAlwaysAwake(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("always", "scale: {min: 1}")
	s.await(0, "running")
	mark := n.mark()
	if err := unix.Kill(s.pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.await(mark, "running")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	n.kill()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.start()
	testutil.WaitFor(t, patience, "the site to run again", func() error {
		if v := s.get(); v.Phase != api.PhaseRunning || slices.ContainsFunc(v.Replicas, func(r api.Replica) bool { return r.PID == pid }) {
			return fmt.Errorf("it is %s, with %+v; what was killed is %d", v.Phase, v.Replicas, pid)
		}
		return nil
	})
	n.outside.greet(s.addr4(80))
}
