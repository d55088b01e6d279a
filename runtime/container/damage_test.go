package container

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// TestRootAdoptDamaged: of two containers the record of one is damaged: the other is adopted, and nothing runs on
// of the one that nobody knows any more. Nothing outside is touched, whatever the record names.
func TestRootAdoptDamaged(t *testing.T) {
	rewrite := func(change func(*wire.State)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			var s wire.State
			if err := wire.ReadFile(dir, wire.StateFile, &s); err != nil {
				t.Fatal(err)
			}
			change(&s)
			if err := wire.WriteFile(dir, wire.StateFile, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	instead := func(name string, do func(path string) error) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.RemoveAll(path), do(path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := func(string) error { return nil }
	fifo := func(p string) error { return unix.Mkfifo(p, 0o600) }
	folder := func(p string) error { return os.Mkdir(p, 0o700) }
	text := func(s string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(s), 0o600) }
	}
	huge := func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<40)) }
	loop := func(p string) error { return os.Symlink(filepath.Base(p), p) }
	own, err := json.Marshal(processOf(t, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func(t *testing.T, dir string){
		"state.json gone":            instead(wire.StateFile, nothing),
		"state.json empty":           instead(wire.StateFile, text("")),
		"state.json a FIFO":          instead(wire.StateFile, fifo),
		"state.json a folder":        instead(wire.StateFile, folder),
		"state.json huge":            instead(wire.StateFile, huge),
		"state.json a loop":          instead(wire.StateFile, loop),
		"of another container":       rewrite(func(s *wire.State) { s.ID = "other" }),
		"naming a cgroup outside":    rewrite(func(s *wire.State) { s.Cgroup = "../.." }),
		"naming no cgroup":           rewrite(func(s *wire.State) { s.Cgroup = "" }),
		"init.json gone":             instead(wire.InitFile, nothing),
		"init.json a FIFO":           instead(wire.InitFile, fifo),
		"init.json garbage":          instead(wire.InitFile, text("{")),
		"init.json of somebody else": instead(wire.InitFile, text(string(own))),
		"init.json of nobody":        instead(wire.InitFile, text(`{"pid":1}`)),
		"dump.json a FIFO":           instead(wire.DumpFile, fifo),
		"a file":                     instead("", text("?")),
		"a FIFO":                     instead("", fifo),
	} {
		t.Run(what, func(t *testing.T) {
			e := newEnv(t)
			bad, good := e.spec("wait"), e.spec("wait")
			good.ID, good.Netns = "good-1", bad.Netns
			good.Upper, good.Work = good.Upper+"-2", good.Work+"-2"
			for _, spec := range []Spec{bad, good} {
				cmd, out := e.daemon(spec, 0)
				testutil.WaitLine(t, limit, out, "started <nil>")
				e.kill(cmd)
			}
			group := e.cgroupOfRecord(bad.ID)
			damage(t, e.m.dir(bad.ID))
			found, quarantined, err := e.m.Adopt(testutil.Context(t, limit))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range found {
				t.Cleanup(func() { e.remove(c) })
			}
			if len(found) != 1 || found[0].ID() != good.ID {
				t.Errorf("adopted %d containers", len(found))
			}
			if len(quarantined) != 1 || quarantined[0].ID != bad.ID || quarantined[0].Files == "" {
				t.Errorf("quarantined %+v", quarantined)
			}
			if _, err := os.Lstat(group); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its cgroup: %v", err)
			}
			if _, err := os.Lstat(e.m.dir(bad.ID)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its record: %v", err)
			}
		})
	}
}

func processOf(t *testing.T, pid int) wire.Process {
	t.Helper()
	p, err := wire.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cgroupOfRecord is the folder of the cgroup that a container's record names.
func (e *env) cgroupOfRecord(id string) string {
	e.t.Helper()
	var s wire.State
	if err := wire.ReadFile(e.m.dir(id), wire.StateFile, &s); err != nil {
		e.t.Fatal(err)
	}
	return e.m.parent.Open(s.Cgroup).Path()
}

// TestRootAdoptWithoutInotify: a start that was under way when its daemon died is waited for without anything that
// sites can use up.
func TestRootAdoptWithoutInotify(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(t, limit, out, "calling")
	var taken []int
	t.Cleanup(func() {
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
	})
	for {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	e.kill(cmd)
	e.adopt()
}

// TestRootAdoptIsNotQuarantineWhenAskedToStop: a daemon that is stopped while it starts ends nothing.
func TestRootAdoptIsNotQuarantineWhenAskedToStop(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	cmd, out := e.daemon(spec, 0)
	testutil.WaitLine(t, limit, out, "started <nil>")
	e.kill(cmd)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, bad, err := e.m.Adopt(ctx); len(bad) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("quarantined %+v, %v", bad, err)
	}
	if procs, err := os.ReadFile(filepath.Join(e.cgroupOfRecord(spec.ID), "cgroup.procs")); err != nil || len(procs) == 0 {
		t.Errorf("its processes: %q, %v", procs, err)
	}
	e.m.release(spec.ID, nil) // as for the next daemon
	e.adopt()
}
