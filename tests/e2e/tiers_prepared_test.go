package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// awaitTier waits until the site is on a tier.
func (s *site) awaitTier(tier api.Tier) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site to be "+string(tier), func() error {
		if v := s.get(); v.Tier != tier || v.Phase != api.PhaseParked {
			return fmt.Errorf("it is %s, %s; %q", v.Tier, v.Phase, s.story(0))
		}
		return nil
	})
}

func TestRootPreparedSiteIsWoken(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("ready", "idle: 1s", "tiers: [prepared]")
	s.sleepOn("prepared")
	for _, c := range []*client{n.outside, n.local} {
		for _, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
			s.awaitTier(api.TierPrepared)
			name := s.get().Replicas[0].ID
			mark := n.mark()
			c.greet(to)
			if tr := s.lastWake(mark); tr.From != api.TierPrepared || tr.Replica != name {
				t.Errorf("replica %s waited; trace: %+v", name, tr)
			}
			c.transfer(to, 1<<20)
			s.await(mark, "prepared") // another one, once it is parked again
		}
	}
	mark := n.mark()
	s.park()
	if err := n.api.Delete(n.ctx(), "ready"); err != nil {
		t.Error(err)
	}
	if got := kinds(s.events(mark), "failed"); len(got) > 0 {
		t.Errorf("%q", s.story(mark))
	}
}

// TestRootPreparedDiesAtItsGate: visitors get an ordinary start.
func TestRootPreparedDiesAtItsGate(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("mortal", "idle: 1s", "tiers: [prepared]")
	s.sleepOn("prepared")
	s.awaitTier(api.TierPrepared)
	mark := n.mark()
	n.kill() // the gates end with the daemon
	early := later(func() error {
		_, err := n.outside.get(s.addr4(80), "/")
		return err
	})
	n.start()
	if err := testutil.Receive(t, patience, "the visitor", early); err != nil {
		t.Error(err)
	}
	s.await(mark, "prepared")
	n.local.greet(s.addr6(80))
}

// TestRootVisitorsWhilePreparing: whoever comes at any moment of a site's being put to its gate is answered.
func TestRootVisitorsWhilePreparing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("hasty", "idle: 1s", "tiers: [prepared]")
	rounds := few(20)
	apart := testutil.Timeout(60*time.Millisecond) / time.Duration(rounds) // ending and preparing take some 50 ms
	for round := range rounds {
		mark := n.mark()
		n.outside.greet(s.addr4(80))
		s.awaitEnd()
		<-time.After(time.Duration(round) * apart) // which moment it is, is what is tested
		if _, err := n.local.get(s.addr6(80), "/"); err != nil {
			t.Errorf("%v after it began to be parked: %v; %q", time.Duration(round)*apart, err, s.story(mark))
		}
	}
}

// awaitEnd waits until the site's idle time is over.
func (s *site) awaitEnd() {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the idle time to be over", func() error {
		if v := s.get(); v.Phase == api.PhaseRunning {
			return errors.New("it is running")
		}
		return nil
	})
}

// TestRootPreparedAreBounded: the oldest makes room.
func TestRootPreparedAreBounded(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "prepared: {max: 2}"})
	var all []*site
	for i := range 3 {
		s := n.deploy(fmt.Sprintf("gate-%d", i), "idle: 1s", "tiers: [prepared]")
		s.sleepOn("prepared")
		all = append(all, s)
	}
	if ev := all[0].await(0, "not-prepared"); !strings.Contains(ev.Reason, "room") {
		t.Errorf("it was thrown away because %q", ev.Reason)
	}
	all[0].awaitTier(api.TierCold)
	for _, s := range all {
		n.outside.greet(s.addr4(80))
	}
	testutil.WaitFor(t, patience, "two at their gates", func() error {
		waiting := 0
		for _, s := range all {
			if s.get().Tier == api.TierPrepared {
				waiting++
			}
		}
		if waiting != 2 {
			return fmt.Errorf("%d are", waiting)
		}
		return nil
	})
}

// TestRootPreparedAfterChange: what waits at its gate was made after the newest spec.
func TestRootPreparedAfterChange(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("changed", "idle: 1s", "tiers: [prepared]")
	s.sleepOn("prepared")
	s.awaitTier(api.TierPrepared)
	mark := n.mark()
	n.deploy("changed", "idle: 1s", "tiers: [prepared]", "hostname: another")
	s.await(mark, "prepared")
	if host := n.outside.greet(s.addr4(80)); host != "another" {
		t.Errorf("its host name is %q", host)
	}
}
