package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestPlace: the unit's cgroup is taken where systemd runs the unit, but not
// from under what an older daemon has started.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name           string
		own, delegated string // cgroup.events; "": there is no such cgroup
		want           string
	}{
		{"no unit", "", "", Own},
		{"a unit that does not run", "", "populated 0\nfrozen 0\n", Own},
		{"a unit", "", "populated 1\nfrozen 0\n", Delegated},
		{"a unit, and an empty cgroup of an older daemon", "populated 0\nfrozen 0\n", "populated 1\nfrozen 0\n", Delegated},
		{"an older daemon's sites", "populated 1\nfrozen 0\n", "populated 1\nfrozen 0\n", Own},
	} {
		mount := t.TempDir()
		for group, events := range map[string]string{Own: c.own, Delegated: c.delegated} {
			if events == "" {
				continue
			}
			if err := os.MkdirAll(filepath.Join(mount, group), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mount, group, "cgroup.events"), []byte(events), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := root(mount); got != c.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	mount := t.TempDir()
	for _, dir := range []string{Own + "/r-1", Delegated} {
		if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mount, Delegated, "cgroup.events"), []byte("populated 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := root(mount); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(mount, Own)); !os.IsNotExist(err) {
		t.Errorf("what an older daemon has left: %v", err)
	}
	if got, err := Root("/mine"); got != "/mine" || err != nil {
		t.Errorf("what is configured: %s, %v", got, err)
	}
}

// TestRootVacates: a parent in which something runs, as in a unit's cgroup, can
// have replicas all the same, and stays when they are gone.
func TestRootVacates(t *testing.T) {
	testutil.Privileged(t)
	group := "/" + testutil.Unique(t)
	path := filepath.Join(Mountpoint, group)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	keeps := exec.Command("sleep", "1000")
	if err := keeps.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = keeps.Process.Kill(), keeps.Wait()
		for _, dir := range []string{filepath.Join(path, keeper), path} {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	pid := strconv.Itoa(keeps.Process.Pid)
	if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(pid), 0); err != nil {
		t.Fatal(err)
	}
	p, err := OpenParent(group)
	if err != nil {
		t.Fatal(err)
	}
	host, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, controller := range host.Controllers {
		if slices.ContainsFunc(wanted, func(w struct{ name, limits, v1 string }) bool { return w.name == controller }) && !p.Has(controller) {
			t.Errorf("replicas have no %s controller, which the machine has", controller)
		}
	}
	if procs, err := os.ReadFile(filepath.Join(path, keeper, "cgroup.procs")); err != nil || strings.TrimSpace(string(procs)) != pid {
		t.Errorf("in the keeper's cgroup are %q, %v", procs, err)
	}
	leaf, err := p.Monitors()
	if err != nil {
		t.Fatal(err)
	}
	_ = leaf.Close()
	if names, err := p.Names(); len(names) != 0 || err != nil {
		t.Errorf("replicas' cgroups are %v, %v", names, err)
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the unit's cgroup is gone: %v", err)
	}
}
