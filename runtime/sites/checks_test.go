package sites

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

// TestCheckPrivileges: what is beyond the node's configuration is refused, all of
// it at once and where it stands; what is within it is not.
func TestCheckPrivileges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	text := `name: a
image: dir:/a
ports: [80]
capabilities:
  add: [CHOWN, NET_RAW, MKNOD]
noNewPrivileges: false
apparmor: unconfined
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sites, err := spec.Parse(file, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		most config.Privileges
		want []string
	}{
		{config.Privileges{}, []string{"5:16: capabilities.add[1]", "5:25: capabilities.add[2]", "6:18: noNewPrivileges"}},
		{config.Privileges{Capabilities: []spec.Capability{"MKNOD"}, NewPrivileges: true}, []string{"5:16: capabilities.add[1]"}},
		{config.Privileges{Capabilities: []spec.Capability{"MKNOD", "NET_RAW"}, NewPrivileges: true}, nil},
		{ // two that mean nothing where each site has a user namespace of its own
			config.Privileges{Capabilities: []spec.Capability{"MKNOD", "NET_RAW"}, NewPrivileges: true, Userns: config.UsernsPrivate},
			[]string{"5:16: capabilities.add[1]", "5:25: capabilities.add[2]"},
		},
		{
			config.Privileges{Capabilities: []spec.Capability{"MKNOD", "NET_RAW"}, NewPrivileges: true, AppArmor: config.AppArmorRequired},
			[]string{"7:11: apparmor"},
		},
	} {
		cfg := config.Config{Privileges: tt.most}
		err := checks{cfg: cfg}.privileges(sites, file)
		var got []string
		if refused := (*api.Error)(nil); errors.As(err, &refused) {
			for _, d := range refused.Details {
				if d.File != file || d.Site != "a" || d.Allowed == "" {
					t.Errorf("a detail without its place: %+v", d)
				}
				got = append(got, fmt.Sprintf("%d:%d: %s", d.Line, d.Column, d.Field))
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("within %+v: %q, want %q", tt.most, got, tt.want)
		}
		if again := life.WithinMost(cfg, &sites[0]); (again != nil) != (tt.want != nil) {
			t.Errorf("within %+v: a start says %v", tt.most, again)
		}
	}
}

// TestCheckClasses: a class that the configuration does not have, or that cannot be held to what it says of each site, is refused
// at its place in the file; in the folder of specs it is told only.
func TestCheckClasses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	cfg := config.Default()
	cfg.Classes["gold"] = config.Class{Late: 0.1, Over: spec.Duration(50 * time.Millisecond), Each: 1}
	h := &life.Host{Cfg: cfg, Log: slog.New(slog.DiscardHandler), Means: policy.Means{CRIU: policy.NewCRIU()}}
	h.Experiences = policy.OpenStore(t.TempDir(), func(f func()) { f() }, func(string, error) {})
	check := func(class string, from origin) string {
		text := "name: a\nimage: dir:/srv/a\nports: [80]\nclass: " + class + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sites, err := spec.Parse(file, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		err = checks{cfg, h.Log}.classes(sites, from, h)
		if refused := (*api.Error)(nil); errors.As(err, &refused) {
			d := refused.Details[0]
			return fmt.Sprintf("%d:%d: %s: %s; allowed: %s", d.Line, d.Column, d.Field, d.Message, d.Allowed)
		}
		return ""
	}
	asked := origin{source: file, asked: true}
	if got := check("standard", asked) + check("gold", asked); got != "" {
		t.Errorf("of sites of which nothing is known it says %q", got)
	}
	const unknown = `4:8: class: the configuration has no class "silver", only gold, standard; classes are added there; allowed: gold, standard`
	if got := check("silver", asked); got != unknown {
		t.Errorf("got  %s\nwant %s", got, unknown)
	}
	if got := check("silver", origin{source: file}); got != "" {
		t.Errorf("in the folder of specs it is refused: %s", got)
	}
	x := policy.NewExperience()
	x.Visitors = sleep.Visitors{Requests: 40, Seconds: 2 * 24 * 3600}
	if err := h.Experiences.Put("a", x); err != nil {
		t.Fatal(err)
	}
	if got := check("gold", asked); !strings.HasPrefix(got, "4:8: class: each: 1 % of its requests cannot be held for a site with 20 visits a day (it takes 300)") {
		t.Errorf("with 20 visits a day it says %q", got)
	}
}

// TestCheckDisk: a limit that the site's log alone could fill is refused, and where it stands.
func TestCheckDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	text := "name: a\nimage: dir:/a\nports: [80]\nlimits:\n  disk: 20MiB\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sites, err := spec.Parse(file, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{Log: config.Log{MaxSize: 5 * spec.MiB, Files: 3}}
	var refused *api.Error
	if err := (checks{cfg: cfg}).disk(sites, file); !errors.As(err, &refused) || len(refused.Details) != 1 || refused.Details[0].Line != 5 || !strings.Contains(refused.Details[0].Allowed, "30MiB") {
		t.Errorf("20MiB beside a log of 15MiB: %+v", refused)
	}
	cfg.Log.Files = 2
	if err := (checks{cfg: cfg}).disk(sites, file); err != nil {
		t.Errorf("20MiB beside a log of 10MiB: %v", err)
	}
}

// TestCheckVolumeLeads: a link that is followed does not lead to the node's own folders, into them or above them.
func TestCheckVolumeLeads(t *testing.T) {
	top := t.TempDir()
	in := func(name string) string { return filepath.Join(top, name) }
	if err := errors.Join(os.MkdirAll(in("state/replicas"), 0o700), os.MkdirAll(in("site/state"), 0o755), os.Symlink("state", in("a")),
		os.Symlink("state/replicas", in("b")), os.Symlink(".", in("c")), os.Symlink("site/state", in("d"))); err != nil {
		t.Fatal(err)
	}
	c := checks{cfg: config.Config{StateDir: in("state"), RunDir: in("run"), VolumeRoots: []string{top}}}
	for name, own := range map[string]bool{"a": true, "b": true, "c": true, "d": false} {
		err := c.volume(spec.Volume{Source: in(name), Follow: true})
		if errors.Is(err, volume.ErrOwn) != own || !own && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckVolumeOfAServer: without a look at any server a volume by NFS is refused where the configuration does not allow it, also in the folder of
// specs, and where the site has a user namespace of its own.
func TestCheckVolumeOfAServer(t *testing.T) {
	c := checks{cfg: config.Default(), log: slog.New(slog.DiscardHandler)}
	c.cfg.StateDir, c.cfg.NFSRoots = t.TempDir(), []string{"nfs://192.0.2.1/sites"}
	sites := []spec.Site{{Name: "a", Userns: spec.UsernsHost, Volumes: []spec.Volume{{Source: "nfs://192.0.2.1/sites/a", Target: "/data"}}}}
	if err := errors.Join(c.volumes(sites, origin{}), c.userns(sites, origin{})); err != nil {
		t.Error(err)
	}
	sites[0].Userns = spec.UsernsPrivate
	detail := func(err error) api.Detail {
		var refused *api.Error
		if !errors.As(err, &refused) || len(refused.Details) != 1 {
			t.Fatalf("%+v", err)
		}
		return refused.Details[0]
	}
	if d := detail(c.userns(sites, origin{})); d.Field != "volumes[0].source" || !strings.Contains(d.Allowed, "userns: host") || !strings.Contains(d.Message, "NFS") {
		t.Errorf("%+v", d)
	}
	c.cfg.NFSRoots = []string{"nfs://192.0.2.1/site"}
	for _, from := range []origin{{}, {source: "specs"}} {
		if d := detail(c.volumes(sites, from)); d.Field != "volumes[0].source" || d.Allowed != "what lies below nfs://192.0.2.1/site" {
			t.Errorf("%+v", d)
		}
	}
}
