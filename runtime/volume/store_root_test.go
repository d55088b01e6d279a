package volume_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/volume"
	"github.com/fcnode/fcnode/tests/testutil"
)

func openStore(t *testing.T, dir string) *volume.Store {
	t.Helper()
	s, err := volume.OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ensure makes a volume of the image's folder /srv/www.
func ensure(t *testing.T, s *volume.Store, site, name string, layers ...string) string {
	t.Helper()
	path, err := s.Ensure(t.Context(), site, name, volume.Origin{Target: "/srv/www", Image: "sha256:i"}, layers)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
}

// describe says what a file is.
func describe(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	out := fmt.Sprintf("%o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		to, err := os.Readlink(path)
		must(t, err)
		return out + " -> " + to
	}
	buf := make([]byte, 256)
	for _, name := range []string{"user.note", "security.capability", "trusted.overlay.x"} {
		if n, err := unix.Lgetxattr(path, name, buf); err == nil {
			out += fmt.Sprintf(" %s=%x", name, buf[:n])
		}
	}
	return out
}

// TestRootVolumeIsFilled: a new volume is the image's folder as the container would see it: owners, modes, times, links,
// extended attributes; what an upper layer has taken away is not there, nor is what only the machine may give.
func TestRootVolumeIsFilled(t *testing.T) {
	testutil.Privileged(t)
	base, upper := t.TempDir(), t.TempDir()
	in := filepath.Join(base, "data/www") // that /srv leads to
	write(t, in+"/index.php", "hello")
	write(t, in+"/gone", "x")
	write(t, in+"/sub/run", "#!")
	must(t, os.Symlink("/data", base+"/srv"), os.Symlink("/etc/passwd", in+"/absolute"), os.Symlink("../../../../etc", in+"/up"),
		os.Link(in+"/index.php", in+"/sub/again"), unix.Mkfifo(in+"/fifo", 0o640), unix.Mknod(in+"/dev", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Lchown(in+"/absolute", 5, 6), os.Chown(in+"/sub/run", 33, 34), unix.Chmod(in+"/sub/run", 0o4755), os.Chown(in, 33, 33), unix.Chmod(in, 0o2770),
		unix.Setxattr(in+"/sub", "user.note", []byte("n"), 0),
		unix.Setxattr(in+"/sub/run", "security.capability", []byte{0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0),
		unix.Setxattr(in+"/sub/run", "trusted.overlay.x", []byte("x"), 0))
	sparse, err := os.Create(in + "/sparse")
	must(t, err)
	must(t, sparse.Truncate(1<<40), sparse.Close())
	old := unix.Timespec{Sec: 1000}
	for _, name := range []string{"/index.php", "/absolute", "/sub/run", "/sub", ""} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, in+name, []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW))
	}
	write(t, upper+"/data/www/new", "from above")
	must(t, os.Chown(upper+"/data/www", 33, 33), unix.Chmod(upper+"/data/www", 0o2770), // what the image store takes over from below
		unix.Mknod(upper+"/data/www/gone", unix.S_IFCHR, 0)) // a whiteout
	s := openStore(t, t.TempDir())
	path := ensure(t, s, "blog", "html", upper, base)

	for _, name := range []string{"/index.php", "/absolute", "/up", "/sub", "/fifo"} {
		if got, want := describe(t, path+name), describe(t, in+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	want := strings.Replace(describe(t, in+"/sub/run"), " trusted.overlay.x=78", "", 1)
	if got := describe(t, path+"/sub/run"); got != want {
		t.Errorf("the program is %s, want %s", got, want)
	}
	if got := describe(t, path); !strings.HasPrefix(got, "42770 33:33") {
		t.Errorf("the folder itself is %s", got)
	}
	for _, name := range []string{"/gone", "/dev"} {
		if _, err := os.Lstat(path + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	var one, other, big unix.Stat_t
	must(t, unix.Stat(path+"/index.php", &one), unix.Stat(path+"/sub/again", &other), unix.Stat(path+"/sparse", &big))
	if one.Ino != other.Ino {
		t.Error("two names of a file became two files")
	}
	if big.Size != 1<<40 || big.Blocks > 64 {
		t.Errorf("a file of holes has %d bytes and takes %d blocks", big.Size, big.Blocks)
	}
	if b, err := os.ReadFile(path + "/new"); err != nil || string(b) != "from above" {
		t.Errorf("the upper layer's file: %q, %v", b, err)
	}
	// It is filled once: what the site makes of it stays.
	write(t, path+"/index.php", "mine")
	if again := ensure(t, s, "blog", "html", base); again != path {
		t.Errorf("it is at %s, and was at %s", again, path)
	}
	if b, err := os.ReadFile(path + "/index.php"); err != nil || string(b) != "mine" {
		t.Errorf("filled again: %q, %v", b, err)
	}
	if bytes, files, err := s.Usage(t.Context(), "blog", "html"); err != nil || files != 9 || bytes > 1<<20 {
		t.Errorf("%d bytes in %d files, %v", bytes, files, err)
	}
}

// TestRootVolumeKeepsNames: however many files have several names, none of them is copied for each.
func TestRootVolumeKeepsNames(t *testing.T) {
	testutil.Privileged(t)
	const many = 300
	image := t.TempDir()
	for i := range many {
		name := fmt.Sprintf("%s/srv/www/%d/file", image, i%7)
		write(t, fmt.Sprint(name, i), "x")
		must(t, os.Link(fmt.Sprint(name, i), fmt.Sprint(image, "/srv/www/again", i)))
	}
	path := ensure(t, openStore(t, t.TempDir()), "blog", "html", image)
	for i := range many {
		var one, other unix.Stat_t
		must(t, unix.Stat(fmt.Sprintf("%s/%d/file%d", path, i%7, i), &one), unix.Stat(fmt.Sprint(path, "/again", i), &other))
		if one.Ino != other.Ino || one.Nlink != 2 {
			t.Fatalf("the two names of file %d of %d became two files", i, many)
		}
	}
}

// TestRootVolumeWithoutAFolder: where the image has no such folder the volume is empty; where it has a file there is none.
func TestRootVolumeWithoutAFolder(t *testing.T) {
	testutil.Privileged(t)
	s := openStore(t, t.TempDir())
	image := t.TempDir()
	// As the folder of an image is before its disk is mounted.
	if path, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image}); err == nil {
		t.Errorf("an empty image has filled %q", path)
	}
	write(t, image+"/etc/passwd", "a file")
	path := ensure(t, s, "blog", "html", image)
	if got := describe(t, path); !strings.HasPrefix(got, "40755 0:0") {
		t.Errorf("it is %s", got)
	}
	write(t, image+"/srv/www", "a file")
	if path, err := s.Ensure(t.Context(), "blog", "other", volume.Origin{Target: "/srv/www"}, []string{image}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("%q %v", path, err)
	}
	if all, err := s.List("blog"); err != nil || len(all) != 1 || all[0].Target != "/srv/www" || all[0].Image != "sha256:i" {
		t.Errorf("there are %+v, %v", all, err)
	}
}

// TestRootVolumesOfADiskThatIsAway: no volume is made where the link to their disk leads nowhere.
func TestRootVolumesOfADiskThatIsAway(t *testing.T) {
	testutil.Privileged(t)
	dir, image := t.TempDir()+"/volumes", t.TempDir()
	disk := t.TempDir() + "/disk"
	if err := os.Symlink(disk, dir); err != nil {
		t.Fatal(err)
	}
	write(t, image+"/etc/passwd", "a file")
	s := openStore(t, dir)
	if path, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image}); err == nil {
		t.Errorf("%q was made", path)
	}
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	ensure(t, openStore(t, dir), "blog", "html", image)
}

// TestRootVolumeFilledOnce: replicas that start at the same time get the same, whole volume, and one that gives up does not
// end it for the others.
func TestRootVolumeFilledOnce(t *testing.T) {
	testutil.Privileged(t)
	image := t.TempDir()
	for i := range 200 {
		write(t, fmt.Sprintf("%s/srv/www/%d/file", image, i), "x")
	}
	s := openStore(t, t.TempDir())
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Ensure(gaveUp, "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			path, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image})
			if err != nil {
				t.Error(err)
				return
			}
			names, err := os.ReadDir(path)
			if err != nil || len(names) != 200 {
				t.Errorf("there are %d files, %v", len(names), err)
			}
		})
	}
	wg.Wait()
}

// TestRootVolumeCutShort: what a daemon leaves that is killed while it fills or removes a volume is none, and goes with the
// next one; a filling that fails leaves nothing.
func TestRootVolumeCutShort(t *testing.T) {
	testutil.Privileged(t)
	dir := t.TempDir()
	image := t.TempDir()
	write(t, image+"/srv/www/file", "x")
	write(t, dir+"/.tmp/new-1/data/half", "x")
	write(t, dir+"/.tmp/gone-1/html/data/half", "x")
	s, err := volume.OpenStore(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, s.Close())
	if left, err := os.ReadDir(dir + "/.tmp"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image}); err == nil {
		t.Error("a store that is closed has made a volume")
	}
	deep := image + "/srv/www"
	for range 300 {
		deep += "/d"
	}
	must(t, os.MkdirAll(deep, 0o755))
	s = openStore(t, dir)
	if _, err := s.Ensure(t.Context(), "blog", "html", volume.Origin{Target: "/srv/www"}, []string{image}); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("a deep folder: %v", err)
	}
	if all, err := s.List(""); err != nil || len(all) > 0 {
		t.Errorf("there are %+v, %v", all, err)
	}
	if left, err := os.ReadDir(dir + "/.tmp"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestRootVolumeRemoved: a volume that was removed is made anew for the next of its name, and others stay.
func TestRootVolumeRemoved(t *testing.T) {
	testutil.Privileged(t)
	image := t.TempDir()
	write(t, image+"/srv/www/file", "x")
	s := openStore(t, t.TempDir())
	path := ensure(t, s, "blog", "html", image)
	ensure(t, s, "blog", "other", image)
	ensure(t, s, "shop", "html", image)
	must(t, os.Remove(path+"/file"), s.Remove("blog", "html"))
	if err := s.Remove("blog", "html"); !errors.Is(err, volume.ErrNone) {
		t.Errorf("removed twice: %v", err)
	}
	if s.Has("blog", "html") || !s.Has("blog", "other") || !s.Has("shop", "html") {
		t.Error("not that one was removed")
	}
	ensure(t, s, "blog", "html", image)
	if _, err := os.Stat(path + "/file"); err != nil {
		t.Error(err)
	}
}

// TestRootVolumeFillRace: whoever owns the folder of an image exchanges a folder in it for a link to the machine's own, at any
// moment: what is copied is never the machine's.
func TestRootVolumeFillRace(t *testing.T) {
	testutil.Privileged(t)
	secret, image := t.TempDir(), t.TempDir()
	write(t, secret+"/file", "secret")
	write(t, image+"/srv/www/a/file", "own")
	write(t, image+"/srv/www/f", "own")
	must(t, os.Symlink(secret, image+"/srv/www/b"), os.Symlink(secret+"/file", image+"/srv/www/g"))
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				for _, pair := range [][2]string{{"a", "b"}, {"f", "g"}} {
					_ = unix.Renameat2(unix.AT_FDCWD, image+"/srv/www/"+pair[0], unix.AT_FDCWD, image+"/srv/www/"+pair[1], unix.RENAME_EXCHANGE)
				}
			}
		}
	})
	defer wg.Wait()
	defer close(over)
	s := openStore(t, t.TempDir())
	made := 0
	for i := range 60 {
		path, err := s.Ensure(t.Context(), "blog", fmt.Sprintf("v%d", i), volume.Origin{Target: "/srv/www"}, []string{image})
		if err != nil {
			continue // it changed under the hands
		}
		made++
		for _, name := range []string{"a", "b", "f", "g"} {
			for _, file := range []string{path + "/" + name, path + "/" + name + "/file"} {
				if fi, err := os.Lstat(filepath.Dir(file)); err != nil || !fi.IsDir() {
					continue // a link, which means something in the container only
				}
				if fi, err := os.Lstat(file); err != nil || !fi.Mode().IsRegular() {
					continue
				}
				if b, err := os.ReadFile(file); err != nil || string(b) != "own" {
					t.Fatalf("%s holds %q (%v)", file, b, err)
				}
			}
		}
	}
	if made == 0 {
		t.Error("no volume was made: nothing was raced with")
	}
}
