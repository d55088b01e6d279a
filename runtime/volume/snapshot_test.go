package volume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
	"github.com/fcnode/fcnode/tests/testutil"
)

// filled makes a volume of an image with these files.
func filled(t *testing.T, s *volume.Store, files map[string]string) string {
	t.Helper()
	image := t.TempDir()
	must(t, os.MkdirAll(image+"/data/sub", 0o755))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(image, "data", name), []byte(text), 0o640))
	}
	path, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/data", Image: "sha256:i"}, []string{image})
	must(t, err)
	return path
}

func hold(t *testing.T, s *volume.Store) {
	t.Helper()
	release, err := s.Hold("blog", "html")
	must(t, err)
	t.Cleanup(release)
}

// awaitEmpty waits until nothing is left of what was aside.
func awaitEmpty(t *testing.T, s *volume.Store) {
	t.Helper()
	testutil.WaitFor(t, 10*time.Second, "what was aside to be removed", func() error {
		left, err := os.ReadDir(filepath.Join(s.Dir(), ".tmp"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("there is %v", left)
		}
		return err
	})
}

// attributes are the modes, owners and times of files.
func attributes(t *testing.T, dir string, names []string) (out []string) {
	t.Helper()
	for _, name := range names {
		var st unix.Stat_t
		must(t, unix.Lstat(dir+name, &st))
		out = append(out, fmt.Sprintf("%s %o %d:%d %d.%09d", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec))
	}
	return out
}

// TestSnapshot: a copy has what the volume had, and nothing is left of it, or of one that was given up.
func TestSnapshot(t *testing.T) {
	s := openStore(t, t.TempDir())
	path := filled(t, s, map[string]string{"a": "first", "sub/b": "b"})
	must(t, os.Link(path+"/a", path+"/again"), unix.Mkfifo(path+"/fifo", 0o600), os.WriteFile(path+"/hole", nil, 0o600), os.Truncate(path+"/hole", 1<<40),
		unix.Mknod(path+"/socket", unix.S_IFSOCK|0o600, 0))
	when := unix.Timespec{Sec: 1_700_000_000, Nsec: 123_456_789}
	if os.Geteuid() == 0 {
		must(t, os.Lchown(path+"/a", 33, 34), os.Lchown(path+"/fifo", 35, 36))
	}
	must(t, unix.Chmod(path+"/a", 0o6751), unix.UtimesNanoAt(unix.AT_FDCWD, path+"/a", []unix.Timespec{when, when}, 0))
	names := []string{"", "/a", "/fifo", "/hole", "/sub"}
	before := attributes(t, path, names)
	hold(t, s)
	n, err := s.Snapshot(t.Context(), "blog", "html")
	must(t, err)
	if got := attributes(t, n.Dir.Name(), names); !slices.Equal(got, before) {
		t.Errorf("the copy has  %q\nthe volume had %q", got, before)
	}
	must(t, os.WriteFile(path+"/a", []byte("second"), 0o640))
	copied := n.Dir.Name()
	if b, err := os.ReadFile(copied + "/again"); err != nil || string(b) != "first" {
		t.Errorf("the copy has %q, %v", b, err)
	}
	var a, again, hole unix.Stat_t
	must(t, unix.Lstat(copied+"/a", &a), unix.Lstat(copied+"/again", &again), unix.Lstat(copied+"/hole", &hole))
	if a.Ino != again.Ino || a.Nlink != 2 || hole.Size != 1<<40 || hole.Blocks > 16 {
		t.Errorf("names of one file: %d %d; a hole of %d bytes takes %d blocks", a.Ino, again.Ino, hole.Size, hole.Blocks)
	}
	if n.Origin.Image != "sha256:i" || n.Left != 1 || n.Files != 7 {
		t.Errorf("%+v", n)
	}
	must(t, n.Close())
	awaitEmpty(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("it takes too long")
	cancel(late)
	if _, err := s.Snapshot(ctx, "blog", "html"); !errors.Is(err, late) {
		t.Errorf("given up: %v", err)
	}
	awaitEmpty(t, s)
	if _, err := s.Snapshot(t.Context(), "blog", "none"); !errors.Is(err, volume.ErrNone) {
		t.Errorf("of none: %v", err)
	}
}

// TestHold: a volume that is held is neither removed nor given to a start, which waits.
func TestHold(t *testing.T) {
	s := openStore(t, t.TempDir())
	path := filled(t, s, nil)
	release, err := s.Hold("blog", "html")
	must(t, err)
	if _, err := s.Hold("blog", "html"); !errors.Is(err, volume.ErrHeld) {
		t.Errorf("held twice: %v", err)
	}
	if err := s.Remove("blog", "html"); !errors.Is(err, volume.ErrHeld) {
		t.Errorf("removed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Ensure(ctx, "blog", "html", volume.Origin{}, nil); !errors.Is(err, volume.ErrHeld) {
		t.Errorf("given to a start: %v", err)
	}
	got := make(chan string, 1)
	go func() {
		path, _ := s.Ensure(t.Context(), "blog", "html", volume.Origin{}, nil)
		got <- path
	}()
	release()
	if p := testutil.Receive(t, 10*time.Second, "the volume", got); p != path {
		t.Errorf("the start got %q", p)
	}
	must(t, s.Remove("blog", "html"))
}

// TestReplace: the new volume is there as a whole, or the old one, and the other one goes; also for a store that is opened
// after a crash.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	path := filled(t, s, map[string]string{"old": "old"})
	stage := func() *volume.Staged {
		g, err := s.Stage()
		must(t, err)
		must(t, os.WriteFile(g.Dir.Name()+"/new", []byte("new"), 0o600), g.Sync(volume.Origin{Target: "/data"}))
		return g
	}
	hold(t, s)
	g := stage()
	must(t, g.Close()) // an error before it was put in place
	awaitEmpty(t, s)
	if _, err := os.Stat(path + "/old"); err != nil {
		t.Error(err)
	}
	g = stage()
	must(t, g.Replace("blog", "html"))
	crashed := openStore(t, dir) // before the old one was removed
	if b, err := os.ReadFile(path + "/new"); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(path + "/old"); err == nil {
		t.Error("the old file is there")
	}
	awaitEmpty(t, crashed)
	must(t, g.Close())
	g = stage()
	must(t, g.Replace("fresh", "html"), g.Close())
	infos, err := s.List("")
	must(t, err)
	if len(infos) != 2 || infos[1].Site != "fresh" || infos[1].Target != "/data" || infos[1].Made.IsZero() {
		t.Errorf("%+v", infos)
	}
}

func TestRoom(t *testing.T) {
	s := openStore(t, t.TempDir())
	must(t, s.Room(0))
	if err := s.Room(1 << 60); !errors.Is(err, volume.ErrNoRoom) {
		t.Errorf("an exbibyte: %v", err)
	}
}
