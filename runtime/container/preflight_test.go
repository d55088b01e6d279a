package container

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootPreflight: what is said to break a dump breaks it, and what is not does
// not. After a dump that failed the site lives on.
func TestRootPreflight(t *testing.T) {
	for _, tt := range []struct {
		kind string
		args string
		says string // "" for nothing, and then the dump succeeds
		edit func(t *testing.T, e *env, ns *testutil.NS, s *Spec)
	}{
		{kind: "nothing"},
		{kind: "inotify", args: "/bin/guest", says: "inotify"}, // of the image, that is
		{kind: "mptcp", says: "MPTCP", edit: func(t *testing.T, _ *env, ns *testutil.NS, _ *Spec) {
			testutil.RequireFeature(t, "MPTCP")
			ns.Sysctl(t, "net/mptcp/enabled", "1")
		}},
		{kind: "unix", says: "unix socket", edit: outsideSocket},
		{kind: "deleted", says: "deleted file"},
		{kind: "jit", says: "JIT"},
		{kind: "loopback", says: "connected to each other"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			e := newEnv(t)
			needCRIU(t, e.m)
			e.file("data/x", "", 0o644)
			ns := replicaNS(t)
			spec := e.counterSpec(ns)
			spec.Args = []string{"/bin/guest", "odd", tt.kind, vip + ":80"}
			if tt.args != "" {
				spec.Args = append(spec.Args, tt.args)
			}
			if tt.edit != nil {
				tt.edit(t, e, ns, &spec)
			}
			c := e.start(spec)
			e.saw(spec, "listening")
			findings, err := c.Preflight()
			if err != nil {
				t.Fatal(err)
			}
			found := tt.says == "" && len(findings) == 0
			for _, f := range findings {
				t.Log(f)
				found = found || tt.says != "" && strings.Contains(f.What, tt.says)
			}
			if !found {
				t.Errorf("%q is not found", tt.says)
			}
			ctx := testutil.Context(t, limit)
			_, err = c.Checkpoint(ctx, e.checkpointDir(), options())
			t.Log(err)
			if tt.says == "" && err != nil || tt.says != "" && !errors.Is(err, criu.ErrDump) {
				t.Errorf("the dump gave %v", err)
			}
			if err := errors.Join(criu.Remove(e.checkpointDir()), c.Group().Thaw(ctx)); err != nil {
				t.Fatal(err)
			}
			if got := get(t, ns, "/count"); got != "1" {
				t.Errorf("after the dump the site counts %s", got)
			}
		})
	}
}

// outsideSocket gives the site a volume with a socket of a process outside of it.
func outsideSocket(t *testing.T, e *env, _ *testutil.NS, s *Spec) {
	t.Helper()
	dir := filepath.Join(e.dir, "volume")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.Mounts = []Mount{{Source: dir, Target: "/data"}}
}
