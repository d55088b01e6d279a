//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootApps: real applications wake on their first packet, serve, are parked and wake again, as new.
func TestRootApps(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, app := range apps.All(t) {
		t.Run(app.Name, func(t *testing.T) {
			s := n.apply(app.Spec(app.Name, "idle: never"))
			for _, to := range []netip.AddrPort{s.addr4(app.Port), s.addr6(app.Port)} {
				mark := n.mark()
				for want := 1; want <= 3; want++ {
					s.count(t, app, to, want)
				}
				if got := s.starts(mark); got != 1 {
					t.Errorf("%d starts: %q", got, s.story(mark))
				}
				s.park()
			}
		})
	}
}

// count visits an application, which must have counted so many visits since its start.
func (s *site) count(t *testing.T, app apps.App, to netip.AddrPort, want int) {
	t.Helper()
	a, err := s.n.outside.get(to, app.Path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := app.Count(a.body)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s has counted %d visits, want %d", app.Name, got, want)
	}
}
