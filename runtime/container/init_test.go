package container

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootInit: a container with the node's init has nobody dead in it, its program gets the signals, and its end is the program's.
func TestRootInit(t *testing.T) {
	for _, tt := range []struct {
		name string
		init bool
		says string
	}{
		{"without", false, `process 1 sees 3 dead`},
		{"with", true, `process ([2-9]|\d\d+) sees 0 dead`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			spec := e.spec("orphans", "3")
			spec.Init = tt.init
			c := e.start(spec)
			e.saw(spec, "ready")
			testutil.WaitFor(t, limit, tt.says, func() error {
				ask(t, c)
				if out := e.output(spec); !regexp.MustCompile(tt.says).MatchString(out) {
					return errors.New(out)
				}
				return nil
			})
			if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "echo", "inside"}}, ""); code != 0 || !strings.Contains(out, "inside") {
				t.Errorf("exec gave %d, %q", code, out)
			}
			if err := c.Stop(testutil.Context(t, limit), limit); err != nil {
				t.Fatal(err)
			}
			if exit, _ := c.Exit(); exit.Code != 7 || exit.Signal != "" {
				t.Errorf("exit %+v, want the program's own code 7", exit)
			}
		})
	}
}

// TestRootInitExecFails: what cannot be executed is told in the log, with the codes of shells.
func TestRootInitExecFails(t *testing.T) {
	e := newEnv(t)
	spec := e.spec()
	spec.Init, spec.Args = true, []string{"/bin/missing"}
	if exit, out := e.run(spec); exit.Code != 127 || !strings.Contains(out, "cannot execute /bin/missing") {
		t.Errorf("exit %+v, output %q", exit, out)
	}
}

// TestRootInitSleeps: a container with the node's init waits at its gate, and sleeps as a checkpoint.
func TestRootInitSleeps(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	spec.Init = true
	p := e.prepare(spec)
	c := e.open(p)
	e.saw(spec, "waiting")
	e.remove(c)

	needCRIU(t, e.m)
	ns := replicaNS(t)
	counting := e.counterSpec(ns)
	counting.Init = true
	c = e.start(counting)
	e.saw(counting, "listening")
	before := get(t, ns, "/count")
	e.park(c, e.checkpointDir(), options())
	ns = replicaNS(t)
	again := e.counterSpec(ns)
	again.Init = true
	e.restore(again, e.checkpointDir())
	if after := get(t, ns, "/count"); before != "1" || after != "2" {
		t.Errorf("counted %s, and %s after the restore", before, after)
	}
}
