package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// pid is the init of the site's only replica. A visitor can be answered a little before the daemon knows it.
func (s *site) pid() (pid int) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site's process", func() error {
		v := s.get()
		if len(v.Replicas) != 1 || v.Replicas[0].PID == 0 {
			return fmt.Errorf("site %s has the replicas %+v", s.name, v.Replicas)
		}
		pid = v.Replicas[0].PID
		return nil
	})
	return pid
}

// TestRootKilledIdleDaemon: sites run on and are served while no daemon is there, keep their addresses, and
// the next daemon takes them over; a visitor of a parked site who came meanwhile is answered then.
func TestRootKilledIdleDaemon(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", killIdle)
}

// TestRootHybridHost: where the controllers are those of cgroup v1 the daemon lives in a mount namespace of its own, and
// the next daemon in another.
func TestRootHybridHost(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{hybrid: true})
	if info, err := n.api.Info(n.ctx()); err != nil || !info.Cgroup.Hybrid {
		t.Errorf("the node takes its machine for %+v (%v)", info.Cgroup, err)
	}
	killIdle(t, n)
}

func killIdle(t *testing.T, n *node) {
	running, parked := n.deploy("running"), n.deploy("parked")
	n.outside.greet(running.addr4(80))
	pid, before := running.pid(), n.list()
	n.kill()

	for _, c := range []*client{n.outside, n.local} {
		for _, to := range []netip.AddrPort{running.addr4(80), running.addr6(80)} {
			c.greet(to)
			c.transfer(to, 1<<20)
			c.refused(n, netip.AddrPortFrom(to.Addr(), 81))
		}
	}
	early := map[string]<-chan error{}
	for _, c := range []*client{n.outside, n.local} {
		for _, to := range []netip.AddrPort{parked.addr4(80), parked.addr6(80)} {
			early[c.name+" "+to.String()] = later(func() error {
				_, err := c.get(to, "/")
				return err
			})
		}
	}
	n.start()
	for who, answered := range early {
		if err := testutil.Receive(t, patience, "the visitor who came while no daemon ran", answered); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
	if now := running.pid(); now != pid {
		t.Errorf("the container has process %d, had %d", now, pid)
	}
	if after := n.list(); !slices.Equal(before, after) {
		t.Errorf("the sites were %q, and are %q", before, after)
	}
	running.await(0, "adopted")
	n.outside.greet(running.addr4(80))
	running.park()
	n.outside.greet(running.addr4(80))
	if got := parked.starts(0); got != 1 {
		t.Errorf("%d starts of the parked site: %q", got, parked.story(0))
	}
}

// list is the sites with their addresses.
func (n *node) list() []string {
	n.t.Helper()
	sites, err := n.api.List(n.ctx())
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, s := range sites {
		out = append(out, fmt.Sprintf("%s %v %d", s.Name, s.Addresses, s.ID))
	}
	return out
}

// load visits a site all the time until it is told to stop, and returns what went wrong: by connections that are
// kept, and by one for each request.
type load struct {
	stop     context.CancelFunc
	visitors sync.WaitGroup
	answers  atomic.Int64
	mu       sync.Mutex
	errs     []error
}

func startLoad(c *client, to ...netip.AddrPort) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	for _, keep := range []bool{true, false} {
		for _, addr := range to {
			h := c.http(keep)
			l.visitors.Go(func() {
				defer h.CloseIdleConnections()
				for ctx.Err() == nil {
					if _, err := read(h.Get("http://" + addr.String() + "/bytes?n=10000")); err != nil {
						l.mu.Lock()
						l.errs = append(l.errs, fmt.Errorf("%s client, kept=%v: %w", c.name, keep, err))
						l.mu.Unlock()
					}
					l.answers.Add(1)
				}
			})
		}
	}
	return l
}

// more waits for more answers.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	want := l.answers.Load() + n
	testutil.WaitFor(t, patience, "answers under load", func() error {
		if got := l.answers.Load(); got < want {
			return fmt.Errorf("%d are missing", want-got)
		}
		return nil
	})
}

func (l *load) end(t testing.TB) {
	t.Helper()
	l.stop()
	l.visitors.Wait()
	for i, err := range l.errs {
		t.Errorf("under load: %v", err)
		if i == 5 {
			t.Errorf("and %d more", len(l.errs)-i)
			break
		}
	}
}

// TestRootKilledUnderLoad: no visitor notices, neither on a connection of before nor on a new one.
func TestRootKilledUnderLoad(t *testing.T) {
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("busy")
		n.outside.greet(s.addr4(80))
		pid := s.pid()
		loads := []*load{startLoad(n.outside, s.addr4(80), s.addr6(80)), startLoad(n.local, s.addr4(80), s.addr6(80))}
		more := func() {
			for _, l := range loads {
				l.more(t, int64(few(200)))
			}
		}
		for range few(2) {
			more()
			n.kill()
			more()
			n.start()
			more()
		}
		for _, l := range loads {
			l.end(t)
		}
		if now := s.pid(); now != pid {
			t.Errorf("the container has process %d, had %d", now, pid)
		}
		if got := s.starts(0); got != 1 {
			t.Errorf("%d starts: %q", got, s.story(0))
		}
	})
}

// TestRootStoppedInOrderUnderLoad: a daemon that is updated is not noticed either.
func TestRootStoppedInOrderUnderLoad(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	s := n.deploy("busy")
	n.outside.greet(s.addr4(80))
	l := startLoad(n.outside, s.addr4(80), s.addr6(80))
	l.more(t, int64(few(200)))
	n.stop()
	l.more(t, int64(few(200)))
	n.start()
	l.more(t, int64(few(200)))
	l.end(t)
	if got := s.starts(0); got != 1 {
		t.Errorf("%d starts: %q", got, s.story(0))
	}
}

// TestRootKilledDuringStart: at whatever step of a start the daemon dies, the visitor who asked for it is answered by
// the next one, by one replica.
func TestRootKilledDuringStart(t *testing.T) {
	endsDuringStart(t, "killed", (*node).kill)
}

// TestRootStoppedDuringStart: so it is when it is stopped in order, as for an update: no visitor is refused, none is cut off, and
// no site has failed.
func TestRootStoppedDuringStart(t *testing.T) {
	endsDuringStart(t, "stopped", (*node).stop)
}

func endsDuringStart(t *testing.T, how string, end func(*node)) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	rounds := few(12)
	apart := testutil.Timeout(36*time.Millisecond) / time.Duration(rounds) // a start takes some 30 ms
	for round := range rounds {
		s := n.deploy(fmt.Sprintf("dying-%d", round))
		c, to := []*client{n.outside, n.local}[round%2], []netip.AddrPort{s.addr4(80), s.addr6(80)}[round/2%2]
		answered := later(func() error {
			_, err := c.get(to, "/")
			return err
		})
		<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		end(n)
		n.start()
		if err := testutil.Receive(t, patience, "the visitor", answered); err != nil {
			t.Errorf("%s client, daemon %s after %v: %v; %q", c.name, how, time.Duration(round)*apart, err, s.story(0))
		}
		n.checkReplicas(s)
		if len(kinds(s.events(0), "failed")) > 0 {
			t.Errorf("daemon %s after %v: %q", how, time.Duration(round)*apart, s.story(0))
		}
		s.park()
		c.greet(to)
		if err := n.api.Delete(n.ctx(), s.name); err != nil {
			t.Fatal(err)
		}
	}
}

// checkReplicas compares what the node says with what runs.
func (n *node) checkReplicas(s *site) {
	n.t.Helper()
	v := s.get()
	testutil.WaitFor(n.t, patience, "one container per replica", func() error {
		groups, err := os.ReadDir("/sys/fs/cgroup/" + n.id)
		if err != nil {
			return err
		}
		busy := 0
		for _, g := range groups {
			procs, err := os.ReadFile("/sys/fs/cgroup/" + n.id + "/" + g.Name() + "/cgroup.procs")
			if err == nil && slices.ContainsFunc(strings.Fields(string(procs)), isSite) {
				busy++
			}
		}
		dirs, err := os.ReadDir(n.run("replicas"))
		if err != nil {
			return err
		}
		v = s.get()
		if busy != len(v.Replicas) || len(dirs) != len(v.Replicas) {
			return fmt.Errorf("the site has %d replicas; %d run, %d replicas are on record", len(v.Replicas), busy, len(dirs))
		}
		return nil
	})
}

// isSite tells the site's process from monitors and from runners that wait for work.
func isSite(pid string) bool {
	cmd, err := os.ReadFile("/proc/" + pid + "/cmdline")
	return err == nil && strings.HasPrefix(string(cmd), "/site\x00")
}

// TestRootKilledDuringStop: what was being parked is parked or runs afterwards, and is there for its next visitor.
func TestRootKilledDuringStop(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	rounds := few(8)
	apart := testutil.Timeout(36*time.Millisecond) / time.Duration(rounds)
	s := n.deploy("ending")
	for round := range rounds {
		s.wake()
		parked := later(func() error {
			_, err := n.api.Park(n.ctx(), s.name, true)
			return err
		})
		<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		n.kill()
		t.Logf("the call to park, cut off or not: %v", <-parked)
		n.start()
		n.checkReplicas(s)
		n.outside.greet(s.addr4(80))
		n.local.greet(s.addr6(80))
		n.checkReplicas(s)
	}
}

// TestRootSiteThatEndsWhileNoDaemonRuns: the next daemon finds out, and the next visitor is answered.
func TestRootSiteThatEndsWhileNoDaemonRuns(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("orphan")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	n.kill()
	if _, err := n.outside.get(s.addr4(80), "/exit?code=1"); err == nil {
		t.Error("it answered and did not end")
	}
	testutil.WaitExit(t, patience, pid)
	testutil.WaitFor(t, patience, "its monitor to write down how it ended", func() error {
		found, err := filepath.Glob(n.run("replicas/orphan-1.*/exit.json"))
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("found %q", found)
		}
		if err != nil {
			return err
		}
		return nil
	})
	n.start()
	if ev := s.await(0, "exited"); !strings.Contains(ev.Reason, "exit code 1") || ev.Replica != "orphan-1" {
		t.Errorf("%s exited because of %q", ev.Replica, ev.Reason)
	}
	n.outside.greet(s.addr4(80))
	n.checkReplicas(s)
	if r := s.replicas(1)[0]; r.ID != "orphan-2" {
		t.Errorf("the next replica is %s, want orphan-2", r.ID)
	}
}

func TestRootSecondDaemonIsRefused(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("first")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	for what, flags := range map[string][]string{
		"the same configuration":                 {},
		"another run directory":                  {"--run-dir", n.path("run")},
		"other directories, but the same device": {"--run-dir", n.path("run"), "--state-dir", n.path("other")},
	} {
		args := append([]string{"run", "--config", n.path("fcnode.yaml")}, flags...)
		var out []byte
		var err error
		n.ns.Do(t, func() { out, err = n.command(args...).CombinedOutput() })
		if err == nil || !bytes.Contains(out, []byte("another fcnode")) {
			t.Errorf("a second daemon with %s: %v\n%s", what, err, out)
		}
		n.outside.greet(s.addr4(80))
		n.local.greet(s.addr6(80))
	}
	// nor one elsewhere, for which only the pins are the same
	elsewhere := testutil.NetNS(t)
	cmd := n.command("run", "--config", n.path("fcnode.yaml"), "--run-dir", n.path("run"), "--state-dir", n.path("other"))
	var out []byte
	var err error
	elsewhere.Do(t, func() { out, err = cmd.CombinedOutput() })
	if err == nil || !bytes.Contains(out, []byte("another fcnode")) {
		t.Errorf("a second daemon in another network namespace with the same pins: %v\n%s", err, out)
	}
	if now := s.pid(); now != pid {
		t.Errorf("process %d became %d", pid, now)
	}
	if info, err := n.api.Info(n.ctx()); err != nil || info.PID != n.daemon.Process.Pid {
		t.Errorf("the API is answered by %d (%v), not by the first daemon %d", info.PID, err, n.daemon.Process.Pid)
	}
	// nor is it torn down under a daemon
	n.ns.Do(t, func() { out, err = n.command("teardown", "--config", n.path("fcnode.yaml")).CombinedOutput() })
	if err == nil || !bytes.Contains(out, []byte("another fcnode")) {
		t.Errorf("teardown under a daemon: %v\n%s", err, out)
	}
	n.outside.greet(s.addr4(80))
}

// TestRootKilledDuringApply: of many sites that are applied together all are there afterwards, or none.
func TestRootKilledDuringApply(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	const batch = 40
	rounds := few(8)
	apart := testutil.Timeout(16*time.Millisecond) / time.Duration(rounds)
	there := 0
	for round := range rounds {
		var text []string
		for i := range batch {
			text = append(text, n.spec(fmt.Sprintf("batch-%d-%d", round, i)))
		}
		sites := n.parse(text...)
		applied := later(func() error {
			_, err := n.api.Apply(n.ctx(), sites, false)
			return err
		})
		if round < rounds-1 {
			<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
			n.kill()
		}
		err := <-applied
		if round == rounds-1 { // in the end they are applied, however slow the machine is
			n.kill()
		}
		n.start()
		now := len(n.list())
		if now != there && now != there+batch || err == nil && now == there {
			t.Fatalf("there were %d sites, %d more were applied (%v), now there are %d", there, batch, err, now)
		}
		if now > there {
			s := n.find(fmt.Sprintf("batch-%d-%d", round, batch-1))
			n.outside.greet(s.addr4(80))
			n.local.greet(s.addr6(80))
		}
		there = now
	}
	if there == 0 {
		t.Error("nothing was ever applied")
	}
}

// TestRootKilledDuringDelete: a site is gone afterwards, or whole.
func TestRootKilledDuringDelete(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	rounds := few(8)
	apart := testutil.Timeout(36*time.Millisecond) / time.Duration(rounds)
	for round := range rounds {
		s := n.deploy(fmt.Sprintf("going-%d", round))
		n.outside.greet(s.addr4(80))
		deleted := later(func() error { return n.api.Delete(n.ctx(), s.name) })
		<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		n.kill()
		err := <-deleted
		n.start()
		if len(n.list()) == 0 {
			n.outside.refused(n, s.addr4(80))
			continue
		}
		if err == nil {
			t.Errorf("it was said to be deleted and is there: %q", n.list())
		}
		n.outside.greet(s.addr4(80))
		n.checkReplicas(s)
		if err := n.api.Delete(n.ctx(), s.name); err != nil {
			t.Error(err)
		}
	}
}

// TestRootReboot: after a power cut sites keep their addresses and are there for their visitors, and what the replicas of
// before have left on disk is gone.
func TestRootReboot(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	before := newNode(t, options{})
	s := before.deploy("survivor")
	before.outside.greet(s.addr4(80))
	pid, sites := s.pid(), before.list()
	shim := monitor(t, pid)
	before.kill()
	for _, p := range []int{shim, pid} {
		if err := unix.Kill(p, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testutil.WaitExit(t, patience, p)
	}

	after := newNode(t, options{stateDir: before.path("state")}) // all else is new
	if now := after.list(); !slices.Equal(sites, now) {
		t.Errorf("the sites were %q, and are %q", sites, now)
	}
	testutil.WaitFor(t, patience, "the old replica's layers to be removed", func() error {
		left, err := filepath.Glob(before.path("state/replicas/*"))
		if len(left) > 0 {
			return fmt.Errorf("on disk are still %q", left)
		}
		return err
	})
	if host := after.outside.greet(s.addr4(80)); host != "survivor" {
		t.Errorf("the site is answered by %q", host)
	}
	if after.find("survivor").starts(0) != 2 {
		t.Errorf("the event log has not gone on: %q", after.find("survivor").story(0))
	}
}
