//go:build linux

package container

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestRootStartAndExit(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("echo", "hello", "world")
	c, timing, err := e.m.Start(testutil.Context(t, limit), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.remove(c) })
	for _, s := range timing.Steps {
		t.Logf("%-16s %8.3f ms", s.Name, float64(s.After)/1e6)
	}
	if exit := e.ended(c); exit.Code != 0 || exit.Signal != "" || exit.OOMKilled || exit.MonitorLost {
		t.Errorf("exit %+v, want code 0", exit)
	}
	if out := e.output(spec); strings.TrimSpace(out) != "hello world" {
		t.Errorf("output %q, want %q", out, "hello world")
	}
}
