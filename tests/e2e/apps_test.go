//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootApps: real applications wake on their first packet, serve, sleep in each tier and wake again: as they were from
// a tier that keeps their processes, as new from one that does not.
func TestRootApps(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, app := range apps.All(t) {
		t.Run(app.Name, func(t *testing.T) {
			t.Parallel()
			t.Run("cold", func(t *testing.T) { appWakesCold(t, n.in(t), app) })
			for _, tier := range []api.Tier{api.TierFrozen, api.TierPrepared, api.TierCheckpointed} {
				t.Run(string(tier), func(t *testing.T) { appSleeps(t, n.in(t), app, tier) })
			}
		})
	}
}

// in is the same node for a subtest, which it fails in place of the test that made it.
func (n *node) in(t *testing.T) *node {
	sub, outside, local := *n, *n.outside, *n.local
	sub.t, outside.t, local.t = t, t, t
	sub.outside, sub.local = &outside, &local
	return &sub
}

// appWakesCold wakes an application by a packet of each family.
func appWakesCold(t *testing.T, n *node, app apps.App) {
	s := n.apply(app.Spec(app.Name, "idle: never"))
	defer n.remove(s)
	for _, six := range []bool{false, true} {
		mark := n.mark()
		for want := 1; want <= 3; want++ {
			s.count(t, app, six, want)
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d starts: %q", got, s.story(mark))
		}
		s.park()
	}
}

// appSleeps lets an application sleep in one tier and wake, twice.
func appSleeps(t *testing.T, n *node, app apps.App, tier api.Tier) {
	if tier == api.TierCheckpointed {
		needCRIU(t)
		if app.Users {
			testutil.RequireFeature(t, "CAP_SYS_RESOURCE")
		}
	}
	s := n.apply(app.Spec(app.Name+"-"+string(tier), "idle: 1s", fmt.Sprintf("tiers: [%s]", tier), "checkpoint: {warm: 1}"))
	defer n.remove(s)
	for round := range 3 {
		mark := n.mark()
		visits := 2 * round
		if tier == api.TierPrepared { // it ran, was stopped, and waits anew
			visits = 0
		}
		s.count(t, app, false, visits+1)
		s.count(t, app, true, visits+2)
		if round > 0 {
			s.await(mark, "woken")
			if tr, err := n.api.Traces(n.ctx(), s.name, 1); err != nil || len(tr) != 1 || tr[0].From != tier {
				t.Errorf("traces: %+v, %v: want a wake from %s; %q", tr, err, tier, s.story(0))
			}
		}
		s.await(mark, string(tier))
		s.awaitTier(tier)
	}
}

// remove deletes a site.
func (n *node) remove(s *site) {
	n.t.Helper()
	if err := n.api.Delete(n.ctx(), s.name); err != nil {
		n.t.Error(err)
	}
}

// count visits an application, which must have counted so many visits since its start.
func (s *site) count(t *testing.T, app apps.App, six bool, want int) {
	t.Helper()
	to := s.addr4(app.Port)
	if six {
		to = s.addr6(app.Port)
	}
	a, err := s.n.outside.get(to, app.Path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := app.Count(a.body)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s has counted %d visits, want %d; %q", app.Name, got, want, s.story(0))
	}
}
