package sites

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/event/eventlog"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/store"
	"github.com/fcnode/fcnode/runtime/volume"
)

// listeners is a data path of nothing but those.
type listeners struct {
	life.DataPath
	life.Holder
	have   map[bpf.Listener]bpf.ListenerSite
	broken error
}

func (d *listeners) PutListeners(ls map[bpf.Listener]bpf.ListenerSite) error {
	if d.broken != nil {
		return d.broken
	}
	for l, s := range ls {
		d.have[l] = s
	}
	return nil
}

func (d *listeners) DeleteListeners(ls ...bpf.Listener) error {
	for _, l := range ls {
		delete(d.have, l)
	}
	return nil
}

// shelfImages has the images that a test names.
type shelfImages map[string]error

// move has a reference mean another image.
func (d *desk) move(ref, to string) {
	d.images["moved:"+ref] = errors.New(to)
}

func (i shelfImages) Resolve(_ context.Context, ref string) (*image.Image, error) {
	if to, moved := i["moved:"+ref]; moved {
		ref = to.Error()
	}
	return i.have(ref)
}

func (i shelfImages) have(ref string) (*image.Image, error) {
	err, known := i[ref]
	switch {
	case err != nil:
		return nil, fmt.Errorf("image %q: %w", ref, err)
	case !known:
		return nil, fmt.Errorf("image %q: %w", ref, image.ErrNotFound)
	}
	return &image.Image{Ref: ref, Digest: "sha256:" + ref, Config: image.Config{ExposedPorts: []string{"80/tcp"}}}, nil
}

func (i shelfImages) Get(digest string) (*image.Image, error) {
	return i.have(strings.TrimPrefix(digest, "sha256:"))
}

// desk is a table with a folder of specs.
type desk struct {
	*Table
	SpecFiles
	t      *testing.T
	dir    string
	data   *listeners
	images shelfImages
}

func newDesk(t *testing.T, files map[string]string) *desk {
	t.Helper()
	state := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	kept, err := store.Open(filepath.Join(state, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := volume.OpenStore(filepath.Join(state, "volumes"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(kept.Close(), volumes.Close()); err != nil {
			t.Error(err)
		}
	})
	cfg := config.Default()
	cfg.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	cfg.StateDir, cfg.RunDir, cfg.SitesDir, cfg.VolumeRoots = state, state, filepath.Join(t.TempDir(), "sites"), []string{"/"}
	d := &desk{t: t, dir: cfg.SitesDir, data: &listeners{have: map[bpf.Listener]bpf.ListenerSite{}}, images: shelfImages{}}
	if files != nil {
		if err := os.Mkdir(d.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		d.put(name, text)
	}
	for _, n := range []string{"1", "2"} {
		d.images["reg.example/blog:"+n] = nil
	}
	d.Table = NewTable(&life.Host{
		Cfg: cfg, Log: log, Ctx: t.Context(), Store: kept, NamedVolumes: volumes, Data: d.data, Holder: d.data, Images: d.images,
		Eventlog: eventlog.InMemory(eventlog.Options{}), Has: func(string) bool { return true },
	})
	d.SpecFiles = Files(d.Table)
	return d
}

func (d *desk) put(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// write has the file of a site say a text, based on what it says now.
func (d *desk) write(name, text string) error {
	d.t.Helper()
	file, err := d.SpecFile(d.t.Context(), name)
	if err != nil {
		return err
	}
	file.Text = text
	_, err = d.WriteSpec(d.t.Context(), name, file, false)
	return err
}

// wants holds that a file has a text, and that nothing is beside it.
func (d *desk) wants(what, name, text string) {
	d.t.Helper()
	got, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil || string(got) != text {
		d.t.Errorf("%s: %s is %q, want %q: %v", what, name, got, text, err)
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			d.t.Errorf("%s: %s is left", what, e.Name())
		}
	}
}

// serves says from which image a site is to run, and where its spec came from.
func (d *desk) serves(name string) (image, source string) {
	d.t.Helper()
	kept, err := d.host.Store.Get(name)
	if errors.Is(err, store.ErrNotFound) {
		return "", ""
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return kept.Spec.Image, kept.Source
}

func blog(tag string) string {
	return "# mine\nname: blog\nimage: reg.example/blog:" + tag + "\nports: [80]\n"
}

func TestWriteSpec(t *testing.T) {
	d := newDesk(t, map[string]string{})
	if err := d.write("blog", blog("1")); err != nil {
		t.Fatal(err)
	}
	d.wants("a new one", "blog.yaml", blog("1"))
	if st, err := os.Stat(filepath.Join(d.dir, "blog.yaml")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the mode of the first file is %v: %v", st.Mode(), err)
	}
	if img, source := d.serves("blog"); img != "reg.example/blog:1" || source != d.dir {
		t.Errorf("it serves %q, of %q", img, source)
	}
	if err := d.write("blog", blog("2")); err != nil {
		t.Fatal(err)
	}
	d.wants("another one", "blog.yaml", blog("2"))
	if img, _ := d.serves("blog"); img != "reg.example/blog:2" {
		t.Errorf("it serves %q", img)
	}
	if err := d.ApplyDir(t.Context(), false); err != nil {
		t.Error(err)
	}
	if img, source := d.serves("blog"); img != "reg.example/blog:2" || source != d.dir {
		t.Errorf("after a reload it serves %q, of %q", img, source)
	}
}

// TestWriteSpecRefused: whatever is wrong, file, node and data path stay as they
// were.
func TestWriteSpecRefused(t *testing.T) {
	other := "name: other\nimage: reg.example/blog:1\nports: [80]\ndomains: [other.example]\n"
	tests := []struct {
		name, text, message string
		prepare             func(*desk)
	}{
		{"no such image", blog("3"), "blog.yaml:3:8: image: image \"reg.example/blog:3\": image not found", nil},
		{"wrong credentials", blog("4"), "not allowed", func(d *desk) { d.images["reg.example/blog:4"] = image.ErrDenied }},
		{"wrong architecture", blog("4"), "unsupported", func(d *desk) { d.images["reg.example/blog:4"] = image.ErrUnsupported }},
		{"a full disk", blog("4"), "no space", func(d *desk) { d.images["reg.example/blog:4"] = image.ErrNoSpace }},
		{"no YAML", "name: [", "blog.yaml:1:", nil},
		{"an unknown field", blog("2") + "colour: red\n", "blog.yaml:5:1: colour", nil},
		{"another's domain", blog("2") + "domains: [other.example]\n", "belongs to site", nil},
		{"a volume of the node's own", blog("2") + "volumes: [{source: STATE, target: /a}]\n", "blog.yaml:5:20: volumes[0].source", nil},
		{"the site is gone", other, "is to describe site blog", nil},
		{"another site's spec beside it", blog("2") + "---\n" + other, "other is in", nil},
		{"the data path fails", blog("2") + "domains: [a.example]\n", "the kernel is full", func(d *desk) { d.data.broken = errors.New("the kernel is full") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, map[string]string{"blog.yaml": blog("1"), "other.yaml": other})
			if err := d.ApplyDir(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if tt.prepare != nil {
				tt.prepare(d)
			}
			text := strings.ReplaceAll(tt.text, "STATE", d.host.Cfg.StateDir)
			err := d.write("blog", text)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("the error is %v, want %q", err, tt.message)
			}
			d.wants("refused", "blog.yaml", blog("1"))
			if img, _ := d.serves("blog"); img != "reg.example/blog:1" {
				t.Errorf("it serves %q", img)
			}
			if err := d.write("fresh", strings.ReplaceAll(text, "blog\n", "fresh\n")); err == nil {
				t.Error("a new site with that was applied")
			}
			if _, err := os.Stat(filepath.Join(d.dir, "fresh.yaml")); err == nil {
				t.Error("there is a file of a site that was refused")
			}
		})
	}
}

// TestWriteSpecPlaces: a site is changed in the file that it is in.
func TestWriteSpecPlaces(t *testing.T) {
	all := "name: a\nimage: reg.example/blog:1\nports: [80]\n---\n" + blog("1")
	d := newDesk(t, map[string]string{"all.yml": all, "broken.yaml": "blog: [", ".blog.yaml": blog("1")})
	if err := d.write("blog", strings.ReplaceAll(all, "blog:1", "blog:2")); err != nil {
		t.Fatal(err)
	}
	d.put(".blog.yaml", "")
	if err := os.Remove(filepath.Join(d.dir, ".blog.yaml")); err != nil {
		t.Fatal(err)
	}
	d.wants("in a file of several", "all.yml", strings.ReplaceAll(all, "blog:1", "blog:2"))
	if st, err := os.Stat(filepath.Join(d.dir, "all.yml")); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("its mode has become %v: %v", st.Mode(), err)
	}
	if img, _ := d.serves("a"); img != "reg.example/blog:2" {
		t.Errorf("the other site that was changed serves %q", img)
	}
	one := strings.ReplaceAll(all, "blog:1", "blog:2") + "env: {A: b}\n"
	if err := d.write("blog", one); err != nil {
		t.Errorf("one of several: %v", err)
	}
	d.wants("one of several", "all.yml", one)
	if err := d.write("blog", blog("1")); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "site a any more") {
		t.Errorf("a site dropped from the file: %v", err)
	}
	if err := d.write("c", strings.ReplaceAll(blog("1"), "name: blog", "name: c")); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(filepath.Join(d.dir, "c.yaml")); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("the mode of a new file among 0644s is %v: %v", st.Mode(), err)
	}
	d.put("taken.yaml", "name: x\nimage: dir:/x\nports: [80]\n")
	if err := d.write("taken", blog("1")); !errors.Is(err, api.ErrConflict) {
		t.Errorf("a file of that name of another site: %v", err)
	}
	for _, name := range []string{"../x", "", "A", ".x"} {
		if _, err := d.SpecFile(t.Context(), name); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("site %q: %v", name, err)
		}
	}
}

// TestWriteSpecChanged: who writes has seen what he replaces.
func TestWriteSpecChanged(t *testing.T) {
	d := newDesk(t, map[string]string{"blog.yaml": blog("1")})
	seen, err := d.SpecFile(t.Context(), "blog")
	if err != nil {
		t.Fatal(err)
	}
	d.put("blog.yaml", blog("1")+"# by another\n")
	seen.Text = blog("2")
	if _, err := d.WriteSpec(t.Context(), "blog", seen, false); !errors.Is(err, api.ErrConflict) {
		t.Errorf("the file has changed: %v", err)
	}
	d.wants("changed meanwhile", "blog.yaml", blog("1")+"# by another\n")
}

// askedImages counts how often something is asked for.
type askedImages struct {
	life.Images
	asked int
}

func (a *askedImages) Resolve(ctx context.Context, ref string) (*image.Image, error) {
	a.asked++
	return a.Images.Resolve(ctx, ref)
}

// TestWriteSpecAsksOnce: what an image's name means is asked once, so that what was
// checked is what is applied, and not at all of a spec that is refused anyway.
func TestWriteSpecAsksOnce(t *testing.T) {
	d := newDesk(t, map[string]string{})
	asked := &askedImages{Images: d.images}
	d.host.Images = asked
	if err := d.write("blog", blog("1")); err != nil || asked.asked != 1 {
		t.Errorf("it was asked %d times: %v", asked.asked, err)
	}
	if err := d.write("blog", blog("2")+"capabilities: {add: [SYS_ADMIN]}\n"); err == nil || asked.asked != 1 {
		t.Errorf("a capability that the node does not give: asked %d times: %v", asked.asked, err)
	}
}

// TestWriteSpecDry: a dry run finds what is wrong, and changes nothing.
func TestWriteSpecDry(t *testing.T) {
	d := newDesk(t, map[string]string{"blog.yaml": blog("1")})
	file, err := d.SpecFile(t.Context(), "blog")
	if err != nil || !file.Saved || file.Text != blog("1") {
		t.Fatalf("the file is %+v: %v", file, err)
	}
	file.Text = blog("2")
	results, err := d.WriteSpec(t.Context(), "blog", file, true)
	if err != nil || len(results) != 1 || results[0].Action != api.ActionCreated {
		t.Errorf("got %+v: %v", results, err)
	}
	d.wants("a dry run", "blog.yaml", blog("1"))
	if img, _ := d.serves("blog"); img != "" {
		t.Errorf("it serves %q", img)
	}
}

// TestWriteSpecWithoutFolder: the site is the API's, and its text what its spec says.
func TestWriteSpecWithoutFolder(t *testing.T) {
	d := newDesk(t, nil)
	file, err := d.SpecFile(t.Context(), "blog")
	if err != nil || file != (api.SpecFile{}) {
		t.Fatalf("the file is %+v: %v", file, err)
	}
	if err := d.write("blog", blog("1")); err != nil {
		t.Fatal(err)
	}
	if img, source := d.serves("blog"); img != "reg.example/blog:1" || source != "" {
		t.Errorf("it serves %q, of %q", img, source)
	}
	file, err = d.SpecFile(t.Context(), "blog")
	if want := "name: blog\nimage: reg.example/blog:1\nports: [80/tcp]\n"; err != nil || file.Text != want || file.Path != "" || file.Saved {
		t.Errorf("the text is %+v: %v", file, err)
	}
	if _, err := os.Stat(d.dir); err == nil {
		t.Error("a folder was made")
	}
	if err := d.write("blog", strings.ReplaceAll(file.Text, ":1", ":3")); err == nil || strings.Contains(err.Error(), "yaml:") {
		t.Errorf("a bad image: %v", err)
	}
}

func TestPullTells(t *testing.T) {
	d := newDesk(t, nil)
	pulls := StoredImages{Host: &life.Host{Images: d.images}}
	var got []api.Pull
	for p, err := range pulls.Pull(t.Context(), "reg.example/blog:1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	if len(got) != 1 || got[0].Image == nil || got[0].Image.Ports[0] != "80/tcp" {
		t.Errorf("got %+v", got)
	}
	for _, err := range pulls.Pull(t.Context(), "reg.example/blog:3") {
		if !errors.Is(err, api.ErrInvalid) {
			t.Errorf("no such image: %v", err)
		}
	}
	d.images["full"] = image.ErrNoSpace
	for _, err := range pulls.Pull(t.Context(), "full") {
		if !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("a full disk: %v", err)
		}
	}
}
