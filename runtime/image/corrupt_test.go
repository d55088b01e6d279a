package image_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
)

// manifestOf reads the only manifest of a layout.
func manifestOf(t *testing.T, dir string) (path string, m v1.Manifest) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	path = blobPath(dir, index.Manifests[0].Digest)
	if raw, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return path, m
}

func blobPath(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }

// rewrite changes a file, keeping its size if change does.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte { b[len(b)/2] ^= 0x40; return b }
func half(b []byte) []byte { return b[:len(b)/2] }

func TestCorruptLayout(t *testing.T) {
	top := func(m v1.Manifest) v1.Hash { return m.Layers[len(m.Layers)-1].Digest }
	for name, c := range map[string]struct {
		compression build.Compression
		file        func(m v1.Manifest) v1.Hash
		change      func([]byte) []byte // nil: removed
	}{
		"bit flipped in a gzip layer":  {build.Gzip, top, flip},
		"bit flipped in a zstd layer":  {build.Zstd, top, flip},
		"bit flipped in a plain layer": {build.None, top, flip},
		"half a gzip layer":            {build.Gzip, top, half},
		"half a zstd layer":            {build.Zstd, top, half},
		"half a plain layer":           {build.None, top, half},
		"empty layer":                  {build.Gzip, top, func([]byte) []byte { return nil }},
		"something else":               {build.Gzip, top, func([]byte) []byte { return []byte("<html>404</html>") }},
		"bytes appended to a layer":    {build.None, top, func(b []byte) []byte { return append(b, make([]byte, 512)...) }},
		"bytes appended to a gzip":     {build.Gzip, top, func(b []byte) []byte { return append(b, "garbage"...) }},
		"same tar in another gzip":     {build.Gzip, top, func(b []byte) []byte { b[4] ^= 1; return b }}, // mtime in its header
		"layer missing":                {build.Gzip, top, nil},
		"config changed":               {build.Gzip, func(m v1.Manifest) v1.Hash { return m.Config.Digest }, flip},
		"config missing":               {build.Gzip, func(m v1.Manifest) v1.Hash { return m.Config.Digest }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			dir := filepath.Join(t.TempDir(), "layout")
			lower := build.NewLayer(text("lower", "lower"))
			upper := build.NewLayer(text("upper", strings.Repeat("upper ", 10000)))
			upper.Compression = c.compression
			if _, err := build.Layout(dir, "", build.Config{}, lower, upper); err != nil {
				t.Fatal(err)
			}
			_, m := manifestOf(t, dir)
			h := c.file(m)
			original, err := os.ReadFile(blobPath(dir, h))
			if err != nil {
				t.Fatal(err)
			}
			if c.change == nil {
				if err := os.Remove(blobPath(dir, h)); err != nil {
					t.Fatal(err)
				}
			} else {
				rewrite(t, blobPath(dir, h), func(b []byte) []byte { return c.change(bytes.Clone(b)) })
			}
			wantError(t, s, "oci:"+dir, image.ErrCorrupt, h.String())
			wantEmpty(t, store)
			// Mended, it works without opening the store again.
			if err := os.WriteFile(blobPath(dir, h), original, 0o600); err != nil {
				t.Fatal(err)
			}
			resolve(t, s, "oci:"+dir)
		})
	}
}

func TestCorruptDocuments(t *testing.T) {
	garbage := func([]byte) []byte { return []byte("{") }
	for name, damage := range map[string]func(t *testing.T, dir string){
		"manifest changed": func(t *testing.T, dir string) {
			t.Helper()
			path, _ := manifestOf(t, dir)
			rewrite(t, path, func(b []byte) []byte { return bytes.Replace(b, []byte("schemaVersion"), []byte("SchemaVersion"), 1) })
		},
		"manifest missing": func(t *testing.T, dir string) {
			t.Helper()
			path, _ := manifestOf(t, dir)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"index is no JSON": func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, "index.json"), garbage)
		},
		"index names no digest": func(t *testing.T, dir string) {
			t.Helper()
			rewrite(t, filepath.Join(dir, "index.json"), func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(`"sha256:`), []byte(`"sha256:../../`))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			dir := filepath.Join(t.TempDir(), "layout")
			if _, err := build.Layout(dir, "", build.Config{}, build.NewLayer(text("a", ""))); err != nil {
				t.Fatal(err)
			}
			damage(t, dir)
			wantError(t, s, "oci:"+dir, image.ErrCorrupt)
			wantEmpty(t, store)
		})
	}
}

func TestCorruptArchive(t *testing.T) {
	layer := build.NewLayer(text("a", strings.Repeat("content ", 1000)))
	layer.Compression = build.None
	for name, change := range map[string]func([]byte) []byte{
		"no tar": func([]byte) []byte { return []byte("no tar at all") },
		"content of a layer": func(b []byte) []byte {
			return bytes.Replace(b, []byte("content content"), []byte("content CONTENT"), 1)
		},
		"empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s, store := openStore(t)
			path := filepath.Join(t.TempDir(), "image.tar")
			if _, err := build.Archive(path, "a:1", build.Config{}, layer); err != nil {
				t.Fatal(err)
			}
			rewrite(t, path, change)
			wantError(t, s, "docker-archive:"+path, image.ErrCorrupt)
			wantEmpty(t, store)
		})
	}
}

// A record that was damaged from outside is made anew.
func TestDamagedRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	ref := layoutOf(t, build.NewLayer(text("a", "a")))
	want := resolve(t, openStoreIn(t, dir), ref)
	records, err := filepath.Glob(filepath.Join(dir, "images", "*.json"))
	if err != nil || len(records) != 1 {
		t.Fatalf("got records %v, %v; want one", records, err)
	}
	rewrite(t, records[0], half)
	got := resolve(t, openStoreIn(t, dir), ref)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(image.Image{})); diff != "" {
		t.Error(diff)
	}
	if got := resolve(t, openStoreIn(t, dir), ref); !cmp.Equal(want, got, cmpopts.IgnoreUnexported(image.Image{})) {
		t.Errorf("after mending: got %+v", got)
	}
}

// So is a layer that is gone.
func TestMissingLayerFolder(t *testing.T) {
	s, _ := openStore(t)
	ref := layoutOf(t, build.NewLayer(text("a", "a")), build.NewLayer(text("b", "b")))
	img := resolve(t, s, ref)
	if err := os.RemoveAll(img.Lower[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b=b"}, files(t, resolve(t, s, ref).Lower[0])); diff != "" {
		t.Error(diff)
	}
}
