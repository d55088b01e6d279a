package container

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootOutputBelongsToItsUser: a program that runs as a user opens its output by its names, whichever way its
// container came to run.
func TestRootOutputBelongsToItsUser(t *testing.T) {
	for _, user := range []string{"", "web", "1000", "1000:1002"} {
		t.Run("user "+user, func(t *testing.T) {
			e := newEnv(t)
			next := func() (Spec, *testutil.NS) {
				ns := replicaNS(t)
				spec := e.counterSpec(ns)
				spec.User = user
				return spec, ns
			}
			says := func(how string, spec Spec, ns *testutil.NS) {
				t.Helper()
				if got, want := get(t, ns, "/say"), strings.Repeat("<nil>\n", 4); got != want {
					t.Errorf("%s: opening its output gives %q", how, got)
				}
				for _, name := range []string{"/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2"} {
					e.saw(spec, "said by "+name)
				}
			}
			spec, ns := next()
			c := e.open(e.prepare(spec))
			e.saw(spec, "listening")
			says("prepared", spec, ns)
			e.remove(c)

			spec, ns = next()
			c = e.start(spec)
			e.saw(spec, "listening")
			says("started", spec, ns)

			needCRIU(t, e.m)
			if findings, err := criu.Preflight([]int{c.Pid()}); err != nil || len(findings) > 0 {
				t.Skipf("%s CAP_SYS_RESOURCE, to checkpoint a process of another user: %v, %v", testutil.SkipMarker, findings, err)
			}
			for _, how := range []string{"restored", "restored again"} {
				e.park(c, e.checkpointDir(), options())
				spec, ns = next()
				c = e.restore(spec, e.checkpointDir())
				says(how, spec, ns)
			}
		})
	}
}
