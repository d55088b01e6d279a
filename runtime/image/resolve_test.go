package image_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

var fullConfig = build.Config{Config: image.Config{
	Entrypoint:   []string{"/bin/server", "-v"},
	Cmd:          []string{"serve"},
	Env:          []string{"PATH=/bin", "A=b c"},
	WorkingDir:   "/srv",
	User:         "www-data:www-data",
	StopSignal:   "SIGWINCH",
	ExposedPorts: []string{"443/tcp", "80/tcp"},
	Volumes:      []string{"/var/lib/a", "/var/lib/b"},
}}

func TestResolveLayout(t *testing.T) {
	s, _ := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	want, err := build.Layout(dir, "1.0", fullConfig,
		build.NewLayer(text("etc/a", "lower"), text("etc/b", "b")),
		build.NewLayer(build.Dir("etc", 0o750), text("etc/a", "upper")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"oci:" + dir + ":1.0", "oci:" + dir} {
		img := resolve(t, s, ref)
		if img.Digest != want || img.Ref != ref {
			t.Errorf("got digest %s of %s, want %s of %s", img.Digest, img.Ref, want, ref)
		}
		if diff := cmp.Diff(fullConfig.Config, img.Config); diff != "" {
			t.Errorf("config (-want +got):\n%s", diff)
		}
		if len(img.Lower) != 2 {
			t.Fatalf("got layers %v, want 2", img.Lower)
		}
		if diff := cmp.Diff([]string{"etc/", "etc/a=upper"}, files(t, img.Lower[0])); diff != "" {
			t.Errorf("upper layer (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"etc/", "etc/a=lower", "etc/b=b"}, files(t, img.Lower[1])); diff != "" {
			t.Errorf("lower layer (-want +got):\n%s", diff)
		}
	}
}

func TestResolveArchive(t *testing.T) {
	for _, c := range []build.Compression{build.Gzip, build.None} {
		s, _ := openStore(t)
		path := filepath.Join(t.TempDir(), "image.tar")
		l := build.NewLayer(text("a", "a"))
		l.Compression = c
		want, err := build.Archive(path, "example/site:2", fullConfig, l, build.NewLayer(text("b", "b")))
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"docker-archive:" + path, "docker-archive:" + path + ":example/site:2", "docker-archive:" + path + ":docker.io/example/site:2"} {
			img := resolve(t, s, ref)
			if img.Digest != want || img.Ref != ref {
				t.Errorf("got digest %s of %s, want %s of %s", img.Digest, img.Ref, want, ref)
			}
			if diff := cmp.Diff(fullConfig.Config, img.Config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"b=b"}, files(t, img.Lower[0])); diff != "" {
				t.Errorf("upper layer (-want +got):\n%s", diff)
			}
		}
		wantError(t, s, "docker-archive:"+path+":other:1", image.ErrNotFound, "example/site:2")
	}
}

func TestCompressions(t *testing.T) {
	for name, c := range map[string]build.Compression{"gzip": build.Gzip, "zstd": build.Zstd, "none": build.None} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t)
			l := build.NewLayer(text("a", "content"))
			l.Compression = c
			img := resolve(t, s, layoutOf(t, l))
			if diff := cmp.Diff([]string{"a=content"}, files(t, img.Lower[0])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two images share what they have in common from the bottom up, whatever it was
// compressed with.
func TestLayersAreShared(t *testing.T) {
	s, _ := openStore(t)
	base := build.NewLayer(text("base", ""))
	zbase := base
	zbase.Compression = build.Zstd
	one := resolve(t, s, layoutOf(t, base, build.NewLayer(text("one", ""))))
	two := resolve(t, s, layoutOf(t, zbase, build.NewLayer(text("two", ""))))
	if one.Lower[1] != two.Lower[1] {
		t.Errorf("the base layer is stored twice: %s and %s", one.Lower[1], two.Lower[1])
	}
	if one.Lower[0] == two.Lower[0] {
		t.Errorf("different layers share %s", one.Lower[0])
	}
	// The same layer upon another one is another folder: what it unpacks to
	// depends on what is below.
	three := resolve(t, s, layoutOf(t, build.NewLayer(text("other", "")), build.NewLayer(text("one", ""))))
	if three.Lower[0] == one.Lower[0] {
		t.Errorf("layers with different layers below share %s", one.Lower[0])
	}
}

// A tag is looked up at each resolve.
func TestTagMoves(t *testing.T) {
	s, _ := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	ref := "oci:" + dir + ":latest"
	var digests []string
	for _, content := range []string{"first", "second"} {
		if _, err := build.Layout(dir, "latest", build.Config{}, build.NewLayer(text("a", content))); err != nil {
			t.Fatal(err)
		}
		img := resolve(t, s, ref)
		if diff := cmp.Diff([]string{"a=" + content}, files(t, img.Lower[0])); diff != "" {
			t.Error(diff)
		}
		digests = append(digests, img.Digest)
	}
	// The former one is still there under its digest.
	old, err := s.Get(digests[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a=first"}, files(t, old.Lower[0])); diff != "" {
		t.Error(diff)
	}
}

func TestLayoutTags(t *testing.T) {
	s, _ := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	for _, tag := range []string{"1", "2"} {
		if _, err := build.Layout(dir, tag, build.Config{}, build.NewLayer(text(tag, ""))); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, s, "oci:"+dir, image.ErrNotFound, "name one", "1, 2")
	wantError(t, s, "oci:"+dir+":3", image.ErrNotFound, `"3"`, "1, 2")
	if img := resolve(t, s, "oci:"+dir+":2"); files(t, img.Lower[0])[0] != "2=" {
		t.Errorf("tag 2 gave %v", files(t, img.Lower[0]))
	}
}

func TestPlatform(t *testing.T) {
	other := map[string]string{"amd64": "arm64"}[runtime.GOARCH]
	if other == "" {
		other = "amd64"
	}
	imageFor := func(arch string) v1.Image {
		img, err := build.Image(build.Config{Architecture: arch}, build.NewLayer(text("arch", arch)))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	index := func(platforms ...v1.Platform) string {
		var idx v1.ImageIndex = empty.Index
		for _, p := range platforms {
			idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: imageFor(p.Architecture), Descriptor: v1.Descriptor{Platform: &p}})
		}
		dir := filepath.Join(t.TempDir(), "layout")
		// As skopeo and buildx write it: the layout's index has one entry, the
		// multi-platform index.
		l, err := layout.Write(dir, empty.Index)
		if err == nil {
			err = l.AppendIndex(idx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return "oci:" + dir
	}
	s, store := openStore(t)
	foreign := v1.Platform{OS: "linux", Architecture: other, Variant: "v9"}
	wantError(t, s, index(foreign), image.ErrUnsupported, "linux/"+other+"/v9", "linux/"+runtime.GOARCH)
	wantEmpty(t, store)
	attestation := v1.Platform{OS: "unknown", Architecture: "unknown"}
	img := resolve(t, s, index(foreign, attestation, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if got := files(t, img.Lower[0])[0]; got != "arch="+runtime.GOARCH {
		t.Errorf("got %s", got)
	}
}

// An image of 32-bit programs is taken where there is none of the machine's own, and says so.
func TestPlatformOfNarrowPrograms(t *testing.T) {
	narrow := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	if narrow == "" {
		narrow = "none" // which wants the error below
	}
	s, _ := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := build.Layout(dir, "", build.Config{Architecture: narrow}, build.NewLayer(text("a", ""))); err != nil {
		t.Fatal(err)
	}
	if narrow == "none" {
		wantError(t, s, "oci:"+dir, image.ErrUnsupported)
		return
	}
	if img := resolve(t, s, "oci:"+dir); img.Config.Architecture != narrow {
		t.Errorf("the image says %q, want %q", img.Config.Architecture, narrow)
	}
	if img := resolve(t, s, layoutOf(t, build.NewLayer(text("a", "")))); img.Config.Architecture != "" {
		t.Errorf("an image of the machine's own architecture says %q", img.Config.Architecture)
	}
}

// An image without an index says its platform in its config only.
func TestPlatformOfConfig(t *testing.T) {
	s, store := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := build.Layout(dir, "", build.Config{OS: "windows"}, build.NewLayer(text("a", ""))); err != nil {
		t.Fatal(err)
	}
	wantError(t, s, "oci:"+dir, image.ErrUnsupported, "windows/"+runtime.GOARCH)
	wantEmpty(t, store)
}

func TestNoLayers(t *testing.T) {
	s, _ := openStore(t)
	wantError(t, s, layoutOf(t), image.ErrUnsupported, "no layers")
}

// A page of mount options is all that mount(2) takes.
func TestTooManyLayers(t *testing.T) {
	s, store := openStore(t)
	var layers []build.Layer
	for range 120 {
		layers = append(layers, build.NewLayer(text("a", "")))
	}
	wantError(t, s, layoutOf(t, layers...), image.ErrUnsupported, "120 layers", "squash")
	wantEmpty(t, store)
}

func TestMissingSources(t *testing.T) {
	s, _ := openStore(t)
	dir := t.TempDir()
	wantError(t, s, "oci:"+dir+"/none:1", image.ErrNotFound, "skopeo copy")
	wantError(t, s, "oci:"+dir+":1", image.ErrNotFound, "no OCI layout")
	wantError(t, s, "docker-archive:"+dir+"/none.tar", image.ErrNotFound, "docker save")
	wantError(t, s, "docker-archive:"+dir, image.ErrUnsupported, "oci:"+dir)
	wantError(t, s, "dir:"+dir+"/none", image.ErrNotFound)
	wantError(t, s, "nginx:1", image.ErrReference, "docker.io/library/nginx:1")
	if _, err := s.Get("sha256:0000000000000000000000000000000000000000000000000000000000000000"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("got %v, want %v", err, image.ErrNotFound)
	}
	if _, err := s.Get("../../etc"); !errors.Is(err, image.ErrReference) {
		t.Errorf("got %v, want %v", err, image.ErrReference)
	}
}

// What Resolve returns is the caller's to change.
func TestImagesAreCopies(t *testing.T) {
	s, _ := openStore(t)
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := build.Layout(dir, "", fullConfig, build.NewLayer(text("a", ""))); err != nil {
		t.Fatal(err)
	}
	img := resolve(t, s, "oci:"+dir)
	img.Config.Entrypoint[0], img.Lower[0] = "changed", "changed"
	again := resolve(t, s, "oci:"+dir)
	if again.Config.Entrypoint[0] == "changed" || again.Lower[0] == "changed" {
		t.Error("changing a returned image changed the store's")
	}
}
