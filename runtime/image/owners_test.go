package image_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootOwners: files that a site's user namespace has no owner for are found in all layers, new and shared ones, as far as
// they can be seen; also in images that an older fcnode has unpacked, and in folders.
func TestRootOwners(t *testing.T) {
	testutil.Privileged(t)
	base := build.NewLayer(
		text("plain", "").WithOwner(65535, 65535), build.Dir("data", 0o755).WithOwner(70000, 0), text("data/x", "").WithOwner(0, 65536),
		text("hidden", "").WithOwner(4000000, 0), text("gone", "").WithOwner(3000000, 0), build.Symlink("link", "/nowhere").WithOwner(80000, 80000),
	)
	over := build.NewLayer(text("hidden", ""), build.Whiteout("gone"), text("top", "").WithOwner(100, 200000))
	want := func(s *image.Store, ref string, want image.Owners) {
		t.Helper()
		if got, err := resolve(t, s, ref).Owners(); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", ref, got, err, want)
		}
	}
	s, dir := openStore(t)
	both := layoutOf(t, base, over)
	inBoth := image.Owners{Files: 4, ID: 200000, Path: "/top"}
	want(s, both, inBoth)
	want(s, layoutOf(t, base), image.Owners{Files: 5, ID: 4000000, Path: "/hidden"}) // the layer is there already
	want(s, layoutOf(t, over), image.Owners{Files: 1, ID: 200000, Path: "/top"})
	want(s, layoutOf(t, build.NewLayer(text("a", ""))), image.Owners{})
	folder := t.TempDir()
	if err := os.Lchown(mkdir(t, folder, "a"), 65536, 0); err != nil {
		t.Fatal(err)
	}
	want(s, "dir:"+folder, image.Owners{Files: 1, ID: 65536, Path: "/a"})

	records, err := filepath.Glob(filepath.Join(dir, "images", "*.json"))
	if err != nil || len(records) == 0 {
		t.Fatal(records, err)
	}
	for _, path := range records {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var record map[string]json.RawMessage
		if err := json.Unmarshal(raw, &record); err != nil || !bytes.Contains(raw, []byte(`"owners"`)) {
			t.Fatalf("%s, %v", raw, err)
		}
		delete(record, "owners")
		if raw, err = json.Marshal(record); err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want(openStoreIn(t, dir), both, inBoth)
}
