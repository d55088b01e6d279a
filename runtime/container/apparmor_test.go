package container

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// TestCheckpointOfAnotherProfile: processes that have another AppArmor profile than the site has now, or none, are not restored.
func TestCheckpointOfAnotherProfile(t *testing.T) {
	for _, tt := range []struct{ was, now string }{{"", "a"}, {"a", ""}, {"a", "b"}, {"a", "a"}} {
		raw, err := json.Marshal(recipe{Privileges: Privileges{AppArmor: tt.was}})
		if err != nil {
			t.Fatal(err)
		}
		err = new(restoreRequest).follow(raw, Spec{Privileges: Privileges{AppArmor: tt.now}})
		if (err == nil) != (tt.was == tt.now) || err != nil && !errors.Is(err, criu.ErrUnusable) {
			t.Errorf("made with %q, restored with %q: %v", tt.was, tt.now, err)
		}
	}
}

// loadProfile gives fcnode's profile until the end of the test.
func loadProfile(t *testing.T) string {
	t.Helper()
	testutil.Privileged(t)
	testutil.RequireFeature(t, "AppArmor")
	p := apparmor.Open(t.Context())
	if p.Lack != nil {
		t.Fatal(p.Lack)
	}
	t.Cleanup(func() {
		if err := apparmor.Unload(); err != nil {
			t.Error(err)
		}
	})
	return p.Own
}

// TestRootAppArmor: however a container comes to run, its first process and each that is executed in it have the profile; and it holds
// what would be the machine's when read-only mounts do not any more.
func TestRootAppArmor(t *testing.T) {
	profile := loadProfile(t)
	for name, make := range containers {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.profile = profile
			c := make(e)
			for what, pid := range map[string]int{"init": c.Pid(), "exec": e.execSleep(c, false).Pid()} {
				if got, err := apparmor.Of(pid); err != nil || got != profile {
					t.Errorf("%s has the profile %q, %v, want %q", what, got, err, profile)
				}
			}
		})
	}
	for _, profile := range []string{"", profile} {
		e := newEnv(t)
		e.profile = profile
		spec := e.spec("wait")
		c := e.start(spec)
		e.saw(spec, "waiting")
		err := mounts.In(c.Pid(), func() error {
			for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
				if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for file, value := range map[string]string{"/proc/sys/kernel/printk_ratelimit_burst": "10", "/proc/sysrq-trigger": "h"} {
			status, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "write", file, value}}, "")
			if profile == "" && status != 0 {
				t.Errorf("without a profile %s is held, too, and shows nothing: %s", file, out)
			}
			if profile != "" && (status == 0 || !strings.Contains(out, "permission denied")) {
				t.Errorf("writing to %s: status %d, %s", file, status, out)
			}
		}
	}
}
