package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// cgroupOf is the folder of the cgroup of a process.
func cgroupOf(t testing.TB, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join("/sys/fs/cgroup", path)
		}
	}
	t.Fatalf("process %d is in no cgroup of v2: %q", pid, b)
	return ""
}

// frozen is what the kernel says about a process.
func frozen(t testing.TB, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cgroupOf(t, pid), "cgroup.events"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), "frozen 1")
}

// sleepOn visits a site and waits until it sleeps on a tier.
func (s *site) sleepOn(kind string) {
	s.n.t.Helper()
	mark := s.n.mark()
	s.n.outside.greet(s.addr4(80))
	s.await(mark, kind)
	testutil.WaitFor(s.n.t, patience, "the end of its visit", func() error { // it may have gone to sleep just before that
		if v := s.get(); v.Phase != api.PhaseParked {
			return fmt.Errorf("it is %s, %s; %q", v.Tier, v.Phase, s.story(mark))
		}
		return nil
	})
}

func TestRootFrozenSiteIsThawedByItsVisitor(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("frozen", "idle: 1s", "tiers: [frozen]")
		s.sleepOn("frozen")
		pid := s.pid()
		s.byEach(func(c *client, to netip.AddrPort) {
			if !frozen(t, pid) {
				t.Fatal("it is not frozen")
			}
			v := s.get()
			if v.Tier != api.TierFrozen || v.Phase != api.PhaseParked || v.Replicas[0].Tier != api.TierFrozen {
				t.Errorf("it is shown as %s, %s, %+v", v.Tier, v.Phase, v.Replicas)
			}
			mark := n.mark()
			c.greet(to)
			checkThaw(t, s, mark)
			s.await(mark, "frozen")
			if now := s.pid(); now != pid {
				t.Errorf("process %d became %d", pid, now)
			}
		})
	})
}

// checkThaw reads the story of a thaw.
func checkThaw(t *testing.T, s *site, mark uint64) {
	t.Helper()
	tr := s.lastWake(mark)
	want := []string{api.StepKnocked, api.StepEventRead, api.StepThawed, api.StepConnected, api.StepFirstByte}
	var have []string
	for _, step := range tr.Steps {
		have = append(have, step.Name)
	}
	slices.Sort(have) // the kernel completes the handshake while the processes are frozen
	slices.Sort(want)
	if tr.Result != api.ResultOK || tr.From != api.TierFrozen || !slices.Equal(have, want) {
		t.Errorf("trace: %s from %s, steps %+v, want %q", tr.Result, tr.From, tr.Steps, want)
	}
	if last := tr.Steps[len(tr.Steps)-1].Name; last != api.StepFirstByte {
		t.Errorf("the trace ends with %q: %+v", last, tr.Steps)
	}
}

// TestRootVisitorsInEachStepOfFreezing: whoever comes at any moment of a site's going to sleep is answered, by the
// replica that is there.
func TestRootVisitorsInEachStepOfFreezing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	const sites = 8
	rounds := few(6)
	all := make([]*site, sites)
	for i := range all {
		all[i] = n.deploy(fmt.Sprintf("drowsy-%d", i), "idle: 1s", "tiers: [frozen]")
	}
	mark := n.mark()
	n.visitAtTheEnd(all, rounds, sites*rounds/4, 150*time.Microsecond)
	slept, woken := 0, 0
	for _, s := range all {
		s.sleepAgain() // one comes after that, however slow the machine is
		n.outside.greet(s.addr4(80))
		ev := s.events(mark)
		slept += len(kinds(ev, "frozen"))
		woken += len(kinds(ev, "woken"))
		if got := kinds(ev, "exited", "failed", "parked"); len(got) > 0 {
			t.Errorf("%s: %q", s.name, s.story(mark))
		}
	}
	t.Logf("%d times asleep, %d wakes, for %d visits", slept, woken, sites*(rounds+1))
}

// TestRootHandsOnASleepingSite: what people do to a site works while it sleeps.
func TestRootHandsOnASleepingSite(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("touched", "idle: 1s", "tiers: [frozen]")
	s.sleepOn("frozen")
	pid := s.pid()

	cmd := n.command("exec", "-i", "-e", "GUEST=cat", "touched", "--", "/site")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = strings.NewReader("through\n"), &out
	if err := cmd.Run(); out.String() != "through\n" {
		t.Errorf("exec in it: %q, %v", out.String(), err)
	}
	s.sleepAgain()

	testutil.WaitFor(t, patience, "its being awake to be seen before it sleeps again", func() error {
		if s.wake(); frozen(t, pid) {
			return errors.New("it was woken by hand and is frozen")
		}
		return nil
	})
	s.sleepAgain()

	for line, err := range n.api.Logs(n.ctx(), "touched", api.LogOptions{Tail: 1}) {
		if err != nil || !strings.HasPrefix(line.Text, "listening") {
			t.Errorf("log: %q, %v", line.Text, err)
		}
	}
	mark := n.mark()
	s.park()
	s.await(mark, "parked")
	testutil.WaitExit(t, patience, pid)
	s.sleepOn("frozen")

	pid = s.pid()
	if err := n.api.Delete(n.ctx(), "touched"); err != nil {
		t.Error(err)
	}
	testutil.WaitExit(t, patience, pid)
}

// sleepAgain waits until the site's replica is frozen.
func (s *site) sleepAgain() {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site to sleep", func() error {
		if v := s.get(); v.Tier != api.TierFrozen {
			return fmt.Errorf("it is %s", v.Tier)
		}
		return nil
	})
}
