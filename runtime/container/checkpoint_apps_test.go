package container

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootCheckpointApplications puts real applications to sleep on disk, twice, also in user namespaces of their own: another one
// each time.
func TestRootCheckpointApplications(t *testing.T) {
	for _, app := range apps.All(t) {
		t.Run(app.Name, func(t *testing.T) {
			if app.Users {
				testutil.RequireFeature(t, "CAP_SYS_RESOURCE")
			}
			newEnv(t).sleepsOnDisk(app)
		})
		t.Run("private-"+app.Name, func(t *testing.T) { newEnv(t).private().sleepsOnDisk(app) })
	}
}

func (e *env) sleepsOnDisk(app apps.App) {
	t := e.t
	needCRIU(t, e.m)
	ns := replicaNS(t)
	spec := e.appSpec(app, ns)
	c := e.start(spec)
	testutil.WaitFor(t, limit, app.Name+" to answer", func() (err error) {
		ns.Do(t, func() { _, err = getHere(app.Path) })
		return err
	})
	want := e.count(app, ns)
	if findings, err := c.Preflight(); err != nil || len(findings) > 0 {
		t.Errorf("before the dump: %v, %v", findings, err)
	}
	for range 2 {
		m := e.park(c, e.checkpointDir(), options())
		t.Logf("%.1f MiB, of that %.1f memory", float64(m.Bytes)/(1<<20), float64(m.Memory)/(1<<20))
		ns = replicaNS(t)
		spec = e.appSpec(app, ns)
		c = e.restore(spec, e.checkpointDir())
		if want++; e.count(app, ns) != want {
			t.Fatalf("after a sleep it does not count on to %d", want)
		}
		testutil.WaitFor(t, limit, "all memory to arrive", func() error { return present(c.lazyFile(), false) })
	}
	if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
		t.Fatal(err)
	}
}

func (e *env) appSpec(app apps.App, ns *testutil.NS) Spec {
	e.t.Helper()
	s := e.counterSpec(ns)
	s.Lower = []string{strings.TrimPrefix(app.Image, "dir:")}
	s.Args, s.StopSignal = app.Command, app.Signal
	return s
}

func (e *env) count(app apps.App, ns *testutil.NS) int {
	e.t.Helper()
	n, err := app.Count(get(e.t, ns, app.Path))
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}
