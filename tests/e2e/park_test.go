package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestRootIdleSiteIsParkedAndWokenAgain(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("sleepy", "idle: 1s")
	for round := range 2 {
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		if ev := s.await(mark, "parked"); ev.Reason != "idle 1s" {
			t.Errorf("parked because %q", ev.Reason)
		}
		v := s.get()
		if len(v.Replicas) > 0 && v.Phase != api.PhaseParked {
			t.Errorf("round %d: parked, but it is %s with %+v", round, v.Phase, v.Replicas)
		}
		if v.Decision == nil || v.Decision.Action != "parked" {
			t.Errorf("round %d: the last decision is %+v", round, v.Decision)
		}
		if got := kinds(s.events(mark), "waking", "running", "parked"); len(got) != 3 {
			t.Errorf("round %d: %q", round, s.story(mark))
		}
	}
}

// TestRootOpenConnectionKeepsAwake: a visitor who says nothing more is a visitor.
func TestRootOpenConnectionKeepsAwake(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	visited, clock := n.deploy("visited", "idle: 1s"), n.deploy("clock", "idle: 1s")
	conn, err := n.outside.connect(visited.addr4(80))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: visited\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	mark := n.mark()
	for range 2 { // another site with the same idle time tells how late it is
		beat := n.mark()
		n.local.greet(clock.addr4(80))
		clock.await(beat, "parked")
	}
	if got := visited.story(mark); len(kinds(visited.events(mark), "parked")) > 0 {
		t.Errorf("parked under a visitor: %q", got)
	}
	if v := visited.get(); v.Conns.Now != 1 {
		t.Errorf("the site has %d connections, want 1", v.Conns.Now)
	}
	if _, err := n.api.Park(n.ctx(), "visited", false); !errors.Is(err, api.ErrBusy) {
		t.Errorf("parking it by hand: %v, want that it is busy", err)
	}
	_ = conn.Close()
	visited.await(mark, "parked")
}

// TestRootVisitorsWhileParking: who comes at any moment of a site's being parked is answered, and each that comes too
// late for the old replica wakes one new.
func TestRootVisitorsWhileParking(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{})
	s := n.deploy("restless")
	rounds := few(60)
	apart := testutil.Timeout(30*time.Millisecond) / time.Duration(rounds) // parking takes some 20 ms
	woken := 0
	for round := range rounds {
		s.wake()
		mark := n.mark()
		park := func() error {
			_, err := n.api.Park(n.ctx(), s.name, false)
			return err
		}
		parked := later(park)
		if round < rounds-1 {
			<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		} else { // one comes too late, however slow the machine is
			testutil.WaitFor(t, patience, "the site to be parked", park)
		}
		c, to := []*client{n.outside, n.local}[round%2], []netip.AddrPort{s.addr4(80), s.addr6(80)}[round/2%2]
		if _, err := c.get(to, "/"); err != nil {
			t.Errorf("%s client, %v after it was to be parked: %v; %q", c.name, time.Duration(round)*apart, err, s.story(mark))
		}
		if err := <-parked; err != nil && !errors.Is(err, api.ErrBusy) {
			t.Error(err)
		}
		got := s.starts(mark)
		if got > 1 {
			t.Errorf("%d starts for one visitor: %q", got, s.story(mark))
		}
		woken += got
	}
	t.Logf("%d of %d visitors came too late for the old replica", woken, rounds)
	if woken == 0 {
		t.Error("not even he who came after it was parked woke it")
	}
}

// visitAtTheEnd visits sites whose idle time is a second, round after round: from a little before its end to a
// little after it, each visit a step later; so many of them come before the end.
func (n *node) visitAtTheEnd(all []*site, rounds, before int, step time.Duration) {
	n.t.Helper()
	err := visit(len(all), func(i int) error {
		c := []*client{n.outside, n.local}[i%2]
		for round := range rounds {
			if _, err := c.get(all[i].addr4(80), "/"); err != nil {
				return fmt.Errorf("site %d, round %d: %w", i, round, err)
			}
			// which moment it is, is what is tested
			<-time.After(time.Second + time.Duration(i*rounds+round-before)*step)
		}
		return nil
	})
	if err != nil {
		n.t.Error(err)
	}
}

// TestRootVisitorsAtTheEndOfIdle: visitors who come at the moment when the idle time is over.
func TestRootVisitorsAtTheEndOfIdle(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	const sites, rounds = 8, 4
	all := make([]*site, sites)
	for i := range all {
		all[i] = n.deploy(fmt.Sprintf("idle-%d", i), "idle: 1s")
	}
	mark := n.mark()
	n.visitAtTheEnd(all, rounds, sites*rounds/2, 500*time.Microsecond)
	late := 0
	for _, s := range all {
		late += s.starts(mark) - 1
		s.awaitPhase(api.PhaseParked) // and one comes too late, however slow the machine is
		parked := n.mark()
		n.outside.greet(s.addr4(80))
		if got := s.starts(parked); got != 1 {
			t.Errorf("%d starts for one visitor of a parked site: %q", got, s.story(parked))
		}
	}
	t.Logf("%d of %d visitors came too late for the replica of before", late, sites*(rounds-1))
}

// TestRootStubbornSiteIsParked: what does not heed its stop signal is killed after its grace.
func TestRootStubbornSiteIsParked(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("stubborn", "env: {GUEST: serve, STUBBORN: '1'}", "stop: {grace: 500ms}")
	n.outside.greet(s.addr4(80))
	pid := s.pid()
	begin := time.Now()
	s.park()
	if took := time.Since(begin); took < 500*time.Millisecond || took >= time.Duration(spec.DefaultGrace) {
		t.Errorf("it took %v to park a site that has half a second of grace", took)
	}
	testutil.WaitExit(t, patience, pid)
	n.outside.greet(s.addr4(80))
}

// TestRootCrashedSiteIsWokenAgain: visitors of a site that crashes are refused for a moment, then it is there again.
func TestRootCrashedSiteIsWokenAgain(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("fragile")
	n.outside.greet(s.addr4(80))
	mark := n.mark()
	if _, err := n.outside.get(s.addr4(80), "/exit?code=7"); err == nil {
		t.Error("it answered and did not end")
	}
	n.t.Logf("%s", s.await(mark, "failed", "exited").Reason) // the latter if the machine stood still: who lived for long is no crash loop
	if v := s.get(); v.Error == nil {
		t.Error("a crash is no error")
	}
	s.awaitPhase(api.PhaseParked)
	n.outside.greet(s.addr4(80))
}
