package life

import (
	"runtime"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// TestMountOrder: folders in memory lie over what they lie in, and below what lies in them.
func TestMountOrder(t *testing.T) {
	inWorld(t, "idle: 1h", func(t *testing.T, _ *world, d *daemon, _ *Site) {
		for _, tt := range []struct{ specs, want string }{
			{"tmpfs: [/a]", "/a"},
			{"tmpfs: [/a/b], volumes: [{source: /s, target: /a}, {source: /s, target: /a/b/c}]", "/a /a/b /a/b/c"},
			{"tmpfs: [/a/b], volumes: [{source: /s, target: /a}, {source: /s, target: /z}]", "/a /z /a/b"},
			{"tmpfs: [/a, /a/b], volumes: [{source: /s, target: /a/b/c}, {source: /s, target: /a/x}]", "/a /a/b /a/b/c /a/x"},
			{"readOnlyRoot: true, volumes: [{source: /s, target: /run/db}]", "/run /run/db /tmp /var/tmp"},
		} {
			mounts, err := d.Mounts(t.Context(), parseLife(t, tt.specs), &image.Image{})
			if err != nil {
				t.Error(err)
			}
			var got []string
			for _, m := range mounts {
				got = append(got, m.Target)
				if m.Tmpfs == (m.Source != "") {
					t.Errorf("%q: %+v", tt.specs, m)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%q: %q, want %q", tt.specs, got, tt.want)
			}
		}
	})
}

// TestUsernsOfTheNode: what a spec does not say the node does, and what it must
// not say is refused.
func TestUsernsOfTheNode(t *testing.T) {
	for _, tt := range []struct {
		node, spec string
		own        bool
		refused    string
	}{
		{config.UsernsHost, "", false, ""},
		{config.UsernsHost, spec.UsernsPrivate, true, ""},
		{config.UsernsHost, spec.UsernsHost, false, ""},
		{config.UsernsPrivate, "", true, ""},
		{config.UsernsPrivate, spec.UsernsHost, false, ""},
		{config.UsernsRequired, "", true, ""},
		{config.UsernsRequired, spec.UsernsPrivate, true, ""},
		{config.UsernsRequired, spec.UsernsHost, false, "userns"},
	} {
		cfg, s := config.Default(), &spec.Site{Userns: tt.spec}
		cfg.Privileges.Userns = tt.node
		if own := cfg.Privileges.OwnUserns(s); own != tt.own {
			t.Errorf("%+v: a user namespace of its own: %t", tt, own)
		}
		refused := ""
		for _, e := range Excesses(cfg, s) {
			refused += e.Field
		}
		if refused != tt.refused {
			t.Errorf("%+v: refused %q", tt, refused)
		}
	}
}

// TestNothingForUserns: what has no effect in a user namespace that the node gives is
// told with what helps there, and no start is tried.
func TestNothingForUserns(t *testing.T) {
	s := &spec.Site{Volumes: []spec.Volume{{Source: "/a", Target: "/b", Dev: true}}}
	for node, allowed := range map[string]string{config.UsernsHost: "", config.UsernsPrivate: "false, or userns: host", config.UsernsRequired: "false"} {
		cfg := config.Default()
		cfg.Privileges.Userns = node
		got := ""
		for _, e := range Excesses(cfg, s) {
			got += e.Allowed
		}
		if got != allowed || (WithinMost(cfg, s) != nil) != (allowed != "") {
			t.Errorf("%s: allowed is %q, want %q; a start says %v", node, got, allowed, WithinMost(cfg, s))
		}
	}
}

// TestForeignPrograms: a spec for another node is refused, and the end by a system call names the line that may be missing.
func TestForeignPrograms(t *testing.T) {
	other := map[bool]spec.Architecture{true: "amd64", false: "arm64"}[runtime.GOARCH != "amd64"]
	bad := Excesses(config.Default(), &spec.Site{Architectures: []spec.Architecture{spec.Architecture(runtime.GOARCH), other}})
	if len(bad) != 1 || bad[0].Field != "architectures[1]" || !strings.HasPrefix(bad[0].Allowed, runtime.GOARCH) {
		t.Errorf("%+v", bad)
	}
	for _, exit := range []container.ExitStatus{{Code: 159, Signal: "SIGSYS"}, {Code: 159}} {
		said := Describe(exit)
		if hint := strings.Contains(said, "architectures: ["); !strings.Contains(said, "SIGSYS") || hint != (len(spec.RunsOn(runtime.GOARCH)) > 1) {
			t.Errorf("%+v: %s", exit, said)
		}
	}
}
