package life

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/spec"
)

// imageBeyond is one with files that a user namespace has no owners for.
func imageBeyond(t *testing.T) *image.Image {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	s, err := image.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	hex := strings.Repeat("a", 64)
	record := fmt.Sprintf(`{"digest":"sha256:%s","chain":[],"config":{},"owners":{"files":3,"id":100000,"path":"/srv/x"}}`, hex)
	if err := os.WriteFile(filepath.Join(dir, "images", hex+".json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := s.Get("sha256:" + hex)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestNotMapped: who applies a site learns which files of its image its user namespace sees as nobody's, and what to do.
func TestNotMapped(t *testing.T) {
	img := imageBeyond(t)
	for _, tt := range []struct {
		node, site string
		img        *image.Image
		want       string // "": no warning
	}{
		{config.UsernsPrivate, "", img, "3 of its files belong to users or groups from 65536 on (/srv/x to 100000), rebuild, or use userns: host"},
		{config.UsernsHost, spec.UsernsPrivate, img, "rebuild, or use userns: host"},
		{config.UsernsRequired, "", img, "rebuild, !userns: host"},
		{config.UsernsPrivate, spec.UsernsHost, img, ""},
		{config.UsernsHost, "", img, ""},
		{config.UsernsPrivate, "", nil, ""},
		{config.UsernsPrivate, "", &image.Image{}, ""},
	} {
		h := &Host{Cfg: config.Config{Privileges: config.Privileges{Userns: tt.node}}, Log: slog.New(slog.DiscardHandler)}
		got := NotMapped(h, &spec.Site{Userns: tt.site}, tt.img)
		if tt.want == "" && got != "" {
			t.Errorf("%+v: %s", tt, got)
		}
		for part := range strings.SplitSeq(tt.want, ", ") {
			not, absent := strings.CutPrefix(part, "!")
			if strings.Contains(got, not) == absent {
				t.Errorf("node %s, site %q: want %q in %s", tt.node, tt.site, part, got)
			}
		}
	}
}

// TestNotMappedIsToldOnce: of an image that could not be read when its site was applied it is told when the site first has it.
func TestNotMappedIsToldOnce(t *testing.T) {
	inWorld(t, "image: 'oci:/i:1', idle: 5m, tiers: [cold]", func(t *testing.T, w *world, d *daemon, s *Site) {
		w.images.like = *imageBeyond(t)
		for range 2 {
			d.up(t, s)
			d.sleep(t, s)
		}
		told := 0
		for ev, err := range d.Eventlog.Events(t.Context(), event.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == event.Applied && strings.Contains(ev.Text, "/srv/x to 100000") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("it was told %d times", told)
		}
	})
}

// TestProfile: which AppArmor profile a site's processes have.
func TestProfile(t *testing.T) {
	lack := errors.New("there is no parser")
	for _, tt := range []struct {
		node, site string
		has        apparmor.Profiles
		want, err  string
	}{
		{config.AppArmorDefault, "", apparmor.Profiles{Own: "own"}, "own", ""},
		{config.AppArmorDefault, "", apparmor.Profiles{Lack: lack}, "", ""}, // told by an event
		{config.AppArmorDefault, "", apparmor.Profiles{}, "", ""},
		{config.AppArmorDefault, spec.AppArmorUnconfined, apparmor.Profiles{Own: "own"}, "", ""},
		{config.AppArmorUnconfined, "", apparmor.Profiles{Own: "own"}, "", ""},
		{config.AppArmorUnconfined, spec.AppArmorDefault, apparmor.Profiles{Own: "own"}, "own", ""},
		{config.AppArmorRequired, "", apparmor.Profiles{Own: "own"}, "own", ""},
		{config.AppArmorRequired, "", apparmor.Profiles{Lack: lack}, "", lack.Error()},
		{config.AppArmorRequired, spec.AppArmorDefault, apparmor.Profiles{}, "", "switched off"},
		{config.AppArmorDefault, "nobodys-profile", apparmor.Profiles{Own: "own"}, "", "apparmor: "},
	} {
		got, err := Profile(config.Privileges{AppArmor: tt.node}, tt.has, &spec.Site{AppArmor: tt.site})
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}
