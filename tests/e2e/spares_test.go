package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
)

// spare waits until a spare replica stands ready, and returns it.
func (s *site) spare() (out api.Replica) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, 3*patience, "the spare replica", func() error {
		all := s.get().Replicas
		for _, r := range all {
			if r.Spare && (r.State == "asleep" || r.State == "prepared") {
				out = r
				return nil
			}
		}
		return fmt.Errorf("the replicas are %+v; %q", all, s.story(0))
	})
	return out
}

// withSpare deploys a site that scales out beyond so many connections a replica, and returns it with its first visitor when its spare replica
// stands ready.
func (n *node) withSpare(most, conns int, spare string) (s *site, first []kept, ready api.Replica) {
	n.t.Helper()
	s = n.deploy("shop", fmt.Sprintf("scale: {max: %d, target: {conns: %d}, spare: %s}", most, conns, spare))
	first = s.crowd(1)
	return s, first, s.spare()
}

// onEachSpare runs a test with a spare replica of each kind.
func onEachSpare(t *testing.T, test func(t *testing.T, n *node, tier api.Tier)) {
	testutil.Privileged(t)
	t.Parallel()
	for _, tier := range []api.Tier{api.TierFrozen, api.TierPrepared} {
		t.Run(string(tier), func(t *testing.T) {
			t.Parallel()
			test(t, newNode(t, options{}), tier)
		})
	}
}

// crowd keeps connections to the site open.
func (s *site) crowd(count int) (out []kept) {
	s.n.t.Helper()
	for range count {
		out = append(out, s.n.outside.keep(s.addr4(80)))
	}
	return out
}

func (s *site) allAnswered(visitors []kept) {
	s.n.t.Helper()
	for i, v := range visitors {
		if err := v.ask(); err != nil {
			s.n.t.Errorf("connection %d of %d: %v; %q", i, len(visitors), err, s.story(0))
		}
	}
}

func leave(visitors []kept) {
	for _, v := range visitors {
		v.conn.Close()
	}
}

// overrun has so many visitors come to a site of one replica that it needs another, and as soon as that serves, some for it too. It says which one it is and
// from where it came.
func (s *site) overrun(mark uint64) (visitors []kept, replica, from string) {
	s.n.t.Helper()
	visitors = s.crowd(30)
	s.ready(2)
	visitors = append(visitors, s.crowd(10)...)
	replica, from = s.joins(mark)
	return visitors, replica, from
}

// joins waits for the first connection of a replica that scaling out has added, and says from where it came.
func (s *site) joins(mark uint64) (replica, from string) {
	s.n.t.Helper()
	ev := s.await(mark, "joined")
	from, _ = ev.Fields["from"].(string)
	return ev.Replica, from
}

// TestRootScaleOutFrozenSpare: a spare replica stands frozen beside those that serve, gets nobody, and joins them when the
// kernel tells of a crowd. When that has gone, one that has served becomes the spare one, and joins again.
func TestRootScaleOutFrozenSpare(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s, first, spare := n.withSpare(2, 4, "1")
	if spare.Tier != api.TierFrozen || !frozen(t, spare.PID) {
		t.Errorf("the spare replica is %+v, frozen %v", spare, frozen(t, spare.PID))
	}
	for range 20 {
		n.local.greet(s.addr6(80))
	}
	if now := s.spare(); now.Conns.Total != 0 || now.ID != spare.ID {
		t.Errorf("the spare replica has visitors: %+v", now)
	}
	if out := n.cli("get", s.name); !strings.Contains(out, "1 of at most 2, 1 spare") {
		t.Errorf("fcnode get says\n%s", out)
	}
	for round := range 2 {
		mark := n.mark()
		visitors, id, from := s.overrun(mark)
		if id != spare.ID || from != string(api.TierFrozen) {
			t.Errorf("round %d: %s joined from %s, want %s; %q", round, id, from, spare.ID, s.story(mark))
		}
		s.allAnswered(append(visitors, first...))
		if got := kinds(s.events(mark), "spare", "exited", "failed"); len(got) > 0 {
			t.Errorf("round %d: %q", round, s.story(mark))
		}
		if all := s.get().Replicas; len(all) != 2 {
			t.Errorf("no more may be added, and there are %+v", all)
		}
		mark = n.mark()
		leave(append(visitors, first...))
		n.awaitSlow(mark, s.name, "scaled-in")
		first = s.crowd(1)
		spare = s.spare() // the one that has drained
		if len(kinds(s.events(mark), "waking")) > 0 || !frozen(t, spare.PID) {
			t.Errorf("round %d: the one that was not needed any more is not kept as the spare one: %q", round, s.story(mark))
		}
		if !strings.Contains(fmt.Sprint(s.story(mark)), "kept as the spare one") {
			t.Errorf("round %d: %q", round, s.story(mark))
		}
	}
	s.allAnswered(first)
}

// TestRootScaleOutPreparedSpare: a container that waits at its gate is opened, and another one is prepared later.
func TestRootScaleOutPreparedSpare(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s, visitors, spare := n.withSpare(3, 8, "{tier: prepared}")
	if spare.Tier != api.TierPrepared {
		t.Errorf("the spare replica is %+v", spare)
	}
	mark := n.mark()
	visitors = append(visitors, s.crowd(12)...)
	s.ready(2)
	for range 30 {
		n.local.greet(s.addr4(80))
	}
	if id, from := s.joins(mark); id != spare.ID || from != string(api.TierPrepared) {
		t.Errorf("%s joined from %s, want %s; %q", id, from, spare.ID, s.story(mark))
	}
	s.allAnswered(visitors)
	if next := s.spare(); next.ID == spare.ID || next.Tier != api.TierPrepared {
		t.Errorf("the next spare replica is %+v", next)
	}
	n.awaitSlow(mark, s.name, "spare")
	s.park()
	testutil.WaitFor(t, patience, "nothing to stand ready for a site that sleeps", func() error {
		if all := s.get().Replicas; len(all) > 0 {
			return fmt.Errorf("there are %+v", all)
		}
		return nil
	})
}

// TestRootKilledWithSpare: the spare replica outlives the daemon as what it is; a gate does not, and another one is prepared.
func TestRootKilledWithSpare(t *testing.T) {
	onEachSpare(t, func(t *testing.T, n *node, tier api.Tier) {
		s, first, spare := n.withSpare(2, 4, string(tier))
		n.kill()
		n.start()
		if got := s.ready(1); got[0].ID == spare.ID {
			t.Errorf("the spare replica serves: %q", s.story(0))
		}
		now := s.spare()
		if tier == api.TierFrozen && (now.ID != spare.ID || !frozen(t, now.PID)) {
			t.Errorf("the spare replica was %+v, is %+v: %q", spare, now, s.story(0))
		}
		mark := n.mark()
		visitors, id, from := s.overrun(mark)
		if id != now.ID || from != string(tier) {
			t.Errorf("%s joined from %s, want %s; %q", id, from, now.ID, s.story(mark))
		}
		s.allAnswered(append(visitors, first...))
	})
}

// TestRootKilledWhileSpareJoins: at whatever moment of scaling out by a spare replica the daemon is killed, whoever is
// connected stays so, and the next daemon goes on.
func TestRootKilledWhileSpareJoins(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "scale: {max: 2, target: {conns: 4}, spare: 1}")
	rounds := few(4)
	for round := range rounds {
		visitors := s.crowd(1)
		s.spare()
		mark := n.mark()
		come := later(func() error {
			for range 30 {
				v, err := n.outside.tryKeep(s.addr4(80))
				if err != nil {
					return err
				}
				visitors = append(visitors, v)
			}
			return nil
		})
		if round%2 == 0 {
			s.await(mark, "scaled-out")
		} else {
			<-time.After(testutil.Timeout(3*time.Millisecond) * time.Duration(round)) // which moment it is, is what is tested
		}
		n.kill()
		n.start()
		if err := testutil.Receive(t, patience, "the visitors", come); err != nil {
			t.Error(err)
		}
		s.ready(2)
		s.allAnswered(visitors)
		leave(visitors)
		s.park()
	}
}

// processesOf are those of a replica; none once it is gone.
func (n *node) processesOf(id string) (out []int) {
	n.t.Helper()
	var state wire.State
	dirs, err := filepath.Glob(n.run("replicas/" + id + ".*"))
	if err != nil {
		n.t.Fatal(err)
	}
	if len(dirs) == 0 {
		return nil
	}
	err = wire.ReadFile(dirs[0], wire.StateFile, &state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		n.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", n.id, state.Cgroup, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		n.t.Fatal(err)
	}
	for _, field := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			n.t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

// TestRootSpareDiesWhileScalingOut: the daemon learns at the same moment that its site has too many visitors and that the
// spare replica is dead. Another replica is started in the same breath, with no pause as after a failure.
func TestRootSpareDiesWhileScalingOut(t *testing.T) {
	onEachSpare(t, func(t *testing.T, n *node, tier api.Tier) {
		s, visitors, spare := n.withSpare(2, 4, string(tier))
		dying := n.processesOf(spare.ID)
		if len(dying) == 0 {
			t.Fatalf("nothing of %s runs", spare.ID)
		}
		mark := n.mark()
		n.pauseDaemon(func() {
			visitors = append(visitors, s.crowd(30)...)
			killAll(t, dying)
		})
		s.await(mark, "scaled-out")
		testutil.WaitFor(t, patience, "another replica", func() error {
			for _, r := range s.ready(2) {
				if r.PID == spare.PID || slices.Contains(dying, r.PID) {
					return fmt.Errorf("%+v is dead", r)
				}
			}
			return nil
		})
		visitors = append(visitors, s.crowd(10)...)
		if id, from := s.joins(mark); from != string(api.TierCold) {
			t.Errorf("%s joined from %s", id, from)
		}
		s.allAnswered(visitors)
		for _, ev := range s.events(mark) {
			if ev.Kind == "waking" && strings.Contains(ev.Reason, "backoff") {
				t.Errorf("there was a pause as after a failure: %q", s.story(mark))
			}
		}
	})
}

// pauseDaemon stops the daemon while something is done.
func (n *node) pauseDaemon(during func()) {
	n.t.Helper()
	if err := n.daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	// until each of its threads has stopped it may still wake somebody
	if err := unix.Waitid(unix.P_PID, n.daemon.Process.Pid, nil, unix.WSTOPPED, nil); err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		if err := n.daemon.Process.Signal(syscall.SIGCONT); err != nil {
			n.t.Error(err)
		}
	}()
	during()
}

// killAll kills processes, some of which may end with another one of them.
func killAll(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
	}
	for _, pid := range pids {
		testutil.WaitExit(t, patience, pid)
	}
}

// TestRootSpareOfAnOldSpec: what stands ready is made anew with the spec, and nobody notices.
func TestRootSpareOfAnOldSpec(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	const scale = "scale: {max: 2, target: {conns: 40}, spare: 1}"
	s := n.deploy("shop", scale)
	n.outside.greet(s.addr4(80))
	old := s.spare()
	if len(n.processesOf(old.ID)) == 0 {
		t.Fatalf("nothing of %s runs", old.ID)
	}
	l := startLoad(n.outside, s.addr4(80), s.addr6(80))
	mark := n.mark()
	n.deploy("shop", scale, "circulate: {drain: 1s}")
	s.await(mark, "drained")
	testutil.WaitFor(t, patience, "the old replicas to go", func() error {
		if left := n.processesOf(old.ID); len(left) > 0 {
			return fmt.Errorf("of the old spare replica there are %v", left)
		}
		return nil
	})
	now := s.spare()
	if now.ID == old.ID {
		t.Errorf("the spare replica is the old one: %+v", now)
	}
	l.more(t, 20)
	l.end(t)
	s.await(mark, "circulating")
	if err := n.api.Delete(n.ctx(), s.name); err != nil {
		t.Error(err)
	}
	testutil.WaitFor(t, patience, "nothing to be left of a deleted site's spare replica", func() error {
		if left := n.processesOf(now.ID); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}
