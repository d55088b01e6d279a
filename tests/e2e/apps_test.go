package e2e

import (
	"encoding/json"
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
				t.Run(string(tier), func(t *testing.T) { appSleeps(t, n.in(t), app, string(tier), tier) })
			}
			t.Run("userns of the host", func(t *testing.T) {
				if app.Users {
					testutil.RequireFeature(t, "CAP_SYS_RESOURCE")
				}
				appSleeps(t, n.in(t), app, "host", api.TierCheckpointed, "userns: host")
			})
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
			if got := s.count(t, app, six); got != want {
				t.Errorf("%s has counted %d visits, want %d; %q", app.Name, got, want, s.story(0))
			}
		}
		if got := s.starts(mark); got != 1 {
			t.Errorf("%d starts: %q", got, s.story(mark))
		}
		s.park()
	}
}

// appSleeps lets an application sleep in one tier and wake, twice. more are
// lines of its spec.
func appSleeps(t *testing.T, n *node, app apps.App, name string, tier api.Tier, more ...string) {
	if tier == api.TierCheckpointed {
		needCRIU(t)
	}
	more = append(more, "idle: 1s", fmt.Sprintf("tiers: [%s]", tier), "checkpoint: {warm: 1}")
	s := n.apply(app.Spec(app.Name+"-"+name, more...))
	defer n.remove(s)
	visits := 0
	for round := range 3 {
		mark := n.mark()
		for _, six := range []bool{false, true} { // a busy machine may have it sleep between them, too
			starts := s.starts(mark)
			got := s.count(t, app, six)
			visits++
			if tier == api.TierPrepared && s.starts(mark) > starts { // it ran, was stopped, and waited anew
				visits = 1
			}
			if got != visits {
				t.Errorf("%s has counted %d visits, want %d; %q", app.Name, got, visits, s.story(0))
			}
		}
		if round > 0 {
			if tr := storyOf(t, s.await(mark, "woken")); tr.From != tier {
				t.Errorf("a wake from %s, want from %s: %+v; %q", tr.From, tier, tr, s.story(0))
			}
		}
		s.await(mark, string(tier))
		s.awaitTier(tier)
	}
}

// storyOf is the trace in the event that tells of a wake's end.
func storyOf(t *testing.T, woken api.Event) (tr api.Trace) {
	t.Helper()
	b, err := json.Marshal(woken.Fields["trace"])
	if err == nil {
		err = json.Unmarshal(b, &tr)
	}
	if err != nil {
		t.Fatalf("the trace in %+v: %v", woken, err)
	}
	return tr
}

// remove deletes a site.
func (n *node) remove(s *site) {
	n.t.Helper()
	if err := n.api.Delete(n.ctx(), s.name); err != nil {
		n.t.Error(err)
	}
}

// count visits an application, and returns how many visits that makes since its start.
func (s *site) count(t *testing.T, app apps.App, six bool) int {
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
	return got
}
