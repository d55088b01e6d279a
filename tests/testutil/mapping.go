package testutil

import (
	"testing"

	"github.com/fcnode/fcnode/runtime/volume"
)

// NeedMapping skips where what lies in a folder cannot be seen through a user
// namespace: it depends on the kernel and on the folder's file system.
func NeedMapping(t testing.TB, path string) {
	t.Helper()
	mapping, err := volume.ProbeMapping()
	if err != nil {
		t.Skipf("%s user namespaces: %v", SkipMarker, err)
	}
	defer mapping.Userns.Close()
	dir, err := volume.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := mapping.Try(dir); err != nil {
		t.Skipf("%s mapped owners in %s: %v", SkipMarker, path, err)
	}
}
