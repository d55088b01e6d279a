package volume_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/volume"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestKept: a snapshot stays what it is, whatever becomes of the volume, takes its place as a copy, and goes with it; one that a crash has cut
// short is none.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	path := filled(t, s, map[string]string{"file": "first"})
	take := func(snapshot string) error {
		release, err := s.Hold("blog", "html")
		must(t, err)
		defer release()
		n, err := s.Snapshot(t.Context(), "blog", "html")
		must(t, err)
		return errors.Join(s.Keep(n, "blog", "html", snapshot), n.Close())
	}
	must(t, s.MayKeep("blog", "html", "one"), take("one"))
	must(t, os.WriteFile(path+"/file", []byte("second"), 0o640), take("two"))
	if err := s.MayKeep("blog", "html", "one"); !errors.Is(err, volume.ErrSnapshotTaken) {
		t.Errorf("a name twice: %v", err)
	}
	if err := take("one"); !errors.Is(err, volume.ErrSnapshotTaken) {
		t.Errorf("a name twice at the same time: %v", err)
	}
	s = openStore(t, dir) // as after a crash, with what the last attempt has left
	must(t, os.MkdirAll(filepath.Join(dir, ".tmp/snapshot-1/data"), 0o700))
	s = openStore(t, dir)
	awaitEmpty(t, s)
	names := func() (out []string) {
		have, err := s.Snapshots("blog", "html")
		must(t, err)
		for _, k := range have {
			if k.Made.IsZero() || k.Target != "/data" || k.Image != "sha256:i" {
				t.Errorf("%+v", k)
			}
			out = append(out, k.Name)
		}
		return out
	}
	must(t, take("z"), take("a")) // in the same second
	if got := names(); fmt.Sprint(got) != "[one two z a]" {
		t.Errorf("there are %q", got)
	}

	restore := func(snapshot string) {
		g, err := s.StageSnapshot(t.Context(), "blog", "html", snapshot)
		must(t, err)
		release, err := s.Hold("blog", "html")
		must(t, err)
		must(t, g.Replace("blog", "html"), g.Close())
		release()
	}
	restore("one")
	must(t, os.WriteFile(path+"/file", []byte("third"), 0o640))
	restore("one")
	if b, err := os.ReadFile(path + "/file"); err != nil || string(b) != "first" {
		t.Errorf("restored: %q, %v", b, err)
	}
	if list, err := s.List(""); err != nil || len(list) != 1 || list[0].Image != "sha256:i" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.StageSnapshot(t.Context(), "blog", "html", "none"); !errors.Is(err, volume.ErrNoSnapshot) {
		t.Errorf("restored from none: %v", err)
	}
	must(t, s.RemoveSnapshot("blog", "html", "one"))
	if err := s.RemoveSnapshot("blog", "html", "one"); !errors.Is(err, volume.ErrNoSnapshot) {
		t.Errorf("removed twice: %v", err)
	}
	must(t, s.Remove("blog", "html"))
	awaitEmpty(t, s)
	if got := names(); len(got) > 0 {
		t.Errorf("of a volume that is gone there are %q", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".snapshots/blog")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

// TestMostSnapshots: one more than the most is refused.
func TestMostSnapshots(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range volume.MostSnapshots {
		must(t, os.MkdirAll(filepath.Join(dir, ".snapshots/blog/html", fmt.Sprint("s", i)), 0o700))
	}
	if err := s.MayKeep("blog", "html", "more"); !errors.Is(err, volume.ErrManySnapshots) {
		t.Error(err)
	}
	must(t, s.RemoveSnapshot("blog", "html", "s7"), s.MayKeep("blog", "html", "more"))
}

// TestRootKeptShares: on a file system that can, a snapshot takes no room for its data.
func TestRootKeptShares(t *testing.T) {
	testutil.Privileged(t)
	s := openStore(t, filepath.Join(testutil.NewXFS(t).Dir, "volumes"))
	if clones, err := s.Clones(); err != nil || !clones {
		t.Fatalf("%t, %v", clones, err)
	}
	path := filled(t, s, nil)
	const size = 64 << 20
	must(t, os.WriteFile(path+"/large", make([]byte, size), 0o640), s.Sync())
	hold(t, s)
	for i := range 10 { // ten times the data would not fit
		n, err := s.Snapshot(t.Context(), "blog", "html")
		must(t, err)
		if n.Cloned != size || n.Copied != 0 {
			t.Errorf("%d cloned, %d copied", n.Cloned, n.Copied)
		}
		must(t, s.Keep(n, "blog", "html", fmt.Sprint("s", i)), n.Close())
	}
}
