package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// keeping deploys a site whose /data is a volume.
func (n *node) keeping(more ...string) *site {
	n.t.Helper()
	ref, _ := n.layout(image.Config{}, build.Dir("data", 0o755), build.File("data/file", 0o644, []byte("image")),
		build.Dir("etc", 0o755), build.File("etc/passwd", 0o644, []byte("root:x:0:0::/:\nwww:x:33:34::/:\n")))
	more = append(more, "volumes: [{name: data, target: /data}]")
	return n.apply(strings.Replace(n.spec("kept", more...), n.image(), ref, 1))
}

// TestRootVolumeBackup: a backup of a site that writes all the time is of one moment; it is restored only if nothing runs or
// by force, and nothing of a bad archive, or of one that a dead daemon had begun, is left.
func TestRootVolumeBackup(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.keeping()
	const files = 12
	path := func(i int) string { return fmt.Sprintf("/data/f%02d", i) }
	stop := s.writesRounds(files, path)
	backup := n.path("kept.tar.zst")
	for range 3 {
		says(t, "backup", n.cli("volume", "backup", "kept/data", n.path("kept.tar")), "kept/data  14 files", "stood still for")
		checkRound(t, n.path("kept.tar"), files)
	}
	if err := stop(); err != nil {
		t.Fatalf("a visitor of a site that is backed up: %v", err)
	}
	s.wrote("/data/file", "first")
	n.cli("volume", "backup", "kept/data", backup)
	s.wrote("/data/file", "second")
	says(t, "restore", n.cliFails("volume", "restore", "kept/data", backup), "a replica of it runs", "--force")
	s.reads("refused", "/data/file", "second")

	evil := n.write("evil.tar", string(tarOf(t, tar.Header{Name: "file", Typeflag: tar.TypeReg}, tar.Header{Name: "../../x", Typeflag: tar.TypeReg})))
	says(t, "a hostile archive", n.cliFails("volume", "restore", "--force", "kept/data", evil), "leads out of the folder", "nothing was changed")
	s.reads("a hostile archive", "/data/file", "second")
	says(t, "restore", n.cli("volume", "restore", "--force", "kept/data", backup), "kept/data  restored: 14 files")
	s.reads("restored", "/data/file", "first")

	// A daemon that dies while an archive comes in.
	s.wrote("/data/file", "third")
	r, w := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		_, err := n.api.RestoreVolume(n.ctx(), "kept", "data", true, r)
		_ = r.CloseWithError(err) // never fails
		failed <- err
	}()
	if _, err := w.Write(tarOf(t, tar.Header{Name: "file", Typeflag: tar.TypeReg})[:1024]); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, patience, "the archive's begin on disk", func() error {
		if found, err := filepath.Glob(n.path("state/volumes/.tmp/restore-*/data/file")); err != nil || len(found) == 0 {
			return errors.Join(errors.New("there is none"), err)
		}
		return nil
	})
	n.kill()
	if err := testutil.Receive(t, patience, "the end of the call", failed); err == nil {
		t.Error("a restore with a dead daemon succeeds")
	}
	_ = w.Close() // nobody reads
	n.start()
	s.reads("after a kill", "/data/file", "third")
	testutil.WaitFor(t, patience, "what the dead daemon left to be removed", func() error {
		if left, err := os.ReadDir(n.path("state/volumes/.tmp")); err != nil || len(left) > 0 {
			return fmt.Errorf("there is %v, %w", left, err)
		}
		return nil
	})

	// For a site that comes later.
	says(t, "restore", n.cli("volume", "restore", "other/data", backup), "other/data  restored")
	says(t, "list", n.cli("volume", "list", "other"), "other/data  -       no")
}

// checkRound fails unless the files have the numbers of one moment.
func checkRound(t *testing.T, path string, files int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	numbers := make([]int, files)
	for r := tar.NewReader(f); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var i int
		if _, err := fmt.Sscanf(hdr.Name, "./f%d", &i); err != nil {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 { // truncated, and not written yet: of this moment, too
			numbers[i] = -1
			continue
		}
		if _, err := fmt.Sscan(string(b), &numbers[i]); err != nil {
			t.Fatal(err)
		}
	}
	ofOneMoment(t, numbers)
}

// ofOneMoment fails unless the numbers that rounds of writing have left are of one moment; -1 is a file that was
// truncated, and not written yet.
func ofOneMoment(t *testing.T, numbers []int) {
	t.Helper()
	last := numbers[0]
	if last < 0 {
		last = numbers[len(numbers)-1] + 1
	}
	fell := false
	for i, n := range numbers {
		switch {
		case n == last && !fell, n == last-1 && fell:
		case (n == last-1 || n < 0) && !fell:
			fell = true
		default:
			t.Fatalf("the files are of several moments (%d): %v", i, numbers)
		}
	}
}

func tarOf(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range entries {
		entries[i].Size, entries[i].Mode = 4, 0o644
		if err := w.WriteHeader(&entries[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("evil")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRootCopy: files go in and out of replicas and volumes with the owners that the site sees, and a link of the site's
// leads nowhere but into the site.
func TestRootCopy(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, userns := range []string{"host", "private"} {
		t.Run(userns, func(t *testing.T) {
			if userns == "private" {
				testutil.NeedMapping(t, n.dir)
			}
			n.copies(t, n.keeping("userns: "+userns))
			n.cli("delete", "--purge", "kept")
		})
	}
}

func (n *node) copies(t *testing.T, s *site) {
	local := t.TempDir()
	at := func(name string) string { return filepath.Join(local, name) }
	volume := func(name string) string { return filepath.Join(n.path("state/volumes/kept/data/data"), name) }
	outside := at("outside")
	if err := errors.Join(os.WriteFile(at("new"), []byte("new"), 0o644), os.Mkdir(outside, 0o755), os.Mkdir(at("into"), 0o755)); err != nil {
		t.Fatal(err)
	}
	says(t, "asleep", n.cliFails("cp", "kept:/data/file", local), "no running replica")
	n.cli("cp", "volume:kept/data:/file", at("out"))
	s.wake()
	if b, err := os.ReadFile(at("out")); err != nil || string(b) != "image" {
		t.Errorf("of a volume: %q, %v", b, err)
	}
	n.cli("cp", "--chown", "www", at("new"), "kept:/data/")
	owned(t, volume("new"), 33, 34)
	s.reads("copied in", "/data/new", "new")
	n.cli("cp", at("new"), "kept:/data/new") // it replaces the other one
	owned(t, volume("new"), 33, 34)
	n.cli("cp", at("new"), "kept:/etc/new")
	s.reads("copied in", "/etc/new", "new")
	r := tar.NewReader(strings.NewReader(n.cli("cp", "kept:/etc/new", "-")))
	if hdr, err := r.Next(); err != nil || hdr.Name != "new" || hdr.Uid != 0 || hdr.Gid != 0 {
		t.Errorf("as an archive: %+v, %v", hdr, err)
	}

	// The tenant may make these.
	if err := errors.Join(os.Symlink("/etc/passwd", volume("link")), os.Symlink(outside, volume("away")), unix.Mkfifo(volume("fifo"), 0o600),
		unix.Mknod(volume("a\x1b[2J"), unix.S_IFSOCK|0o600, 0)); err != nil {
		t.Fatal(err)
	}
	n.cli("cp", "kept:/data/link", at("passwd"))
	if b, err := os.ReadFile(at("passwd")); err != nil || !strings.HasPrefix(string(b), "root:x:0:0::/:\nwww") {
		t.Errorf("by a link: %q, %v", b, err)
	}
	says(t, "by a link", n.cliFails("cp", "kept:/data/away/x", local), "no such file")
	n.cliFails("cp", at("new"), "kept:/data/away/")
	if found, err := os.ReadDir(outside); err != nil || len(found) > 0 {
		t.Errorf("by a link of the site's: %v, %v", found, err)
	}
	out := n.cli("cp", "kept:/data", at("into"))
	if says(t, "a folder", out, `data/a\x1b[2J: a socket`); strings.Contains(out, "\x1b") {
		t.Errorf("a terminal would obey %q", out)
	}
	if to, err := os.Readlink(at("into/data/away")); err != nil || to != outside {
		t.Errorf("a link is copied as %q, %v", to, err)
	}
	for _, path := range []string{"/proc/version", "/sys/kernel"} {
		says(t, path, n.cliFails("cp", "kept:"+path, local), "the kernel's own")
	}
	says(t, "write", n.cliFails("cp", at("new"), "kept:/proc/sys/kernel/core_pattern"), "kernel")
}

func owned(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Uid != uid || st.Gid != gid {
		t.Errorf("%s belongs to %d:%d (%v), want %d:%d", path, st.Uid, st.Gid, err, uid, gid)
	}
}

// TestRootForward: a connection to what listens on 127.0.0.1 in a site, which wakes it, and keeps it awake.
func TestRootForward(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("inner", `env: {GUEST: serve, LISTEN: "tcp/:80 tcp/127.0.0.1:9229"}`, "idle: never")
	if _, err := n.api.Connect(n.ctx(), "inner", api.ForwardRequest{Port: 9229, Asleep: true}); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("a site that sleeps: %v", err)
	}
	c, err := n.api.Connect(n.ctx(), "inner", api.ForwardRequest{Port: 9229})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(when string) {
		t.Helper()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		buf := make([]byte, 4096)
		k, err := c.Read(buf)
		if err != nil || !strings.Contains(string(buf[:k]), "127.0.0.1:9229 by inner") {
			t.Fatalf("%s: %q, %v", when, buf[:k], err)
		}
	}
	ask("woken")
	if v := s.get(); v.Conns.Total != 0 {
		t.Errorf("it counts as %d visitors", v.Conns.Total)
	}
	if _, err := n.api.Park(n.ctx(), "inner", false); !errors.Is(err, api.ErrBusy) {
		t.Errorf("it does not keep the site awake: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	testutil.WaitFor(t, patience, "the site to be parked", func() error {
		_, err := n.api.Park(n.ctx(), "inner", false)
		return err
	})
	if c, err = n.api.Connect(n.ctx(), "inner", api.ForwardRequest{Port: 80}); err != nil {
		t.Fatal(err)
	}
	n.kill()
	n.start()
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "by inner") {
		t.Errorf("after the daemon's end: %q, %v", b, err)
	}
	_ = c.Close() // the daemon of it is gone
	if _, err := n.api.Connect(n.ctx(), "inner", api.ForwardRequest{Port: 9}); err == nil || !strings.Contains(err.Error(), "nobody listens on port 9") {
		t.Errorf("where nobody listens: %v", err)
	}
}

// writesRounds has a site write the same number into all files, one after the other, round after round until stop is called,
// which tells of a visitor who was turned away.
func (s *site) writesRounds(files int, path func(int) string) (stop func() error) {
	s.n.t.Helper()
	round := func(number int) error {
		for i := range files {
			if _, err := s.n.outside.ask(http.MethodPost, s.addr4(80), "/file?path="+path(i), strings.NewReader(fmt.Sprint(number))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := round(0); err != nil {
		s.n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.n.t.Context())
	wrote := make(chan error, 1)
	go func() {
		for number := 1; ; number++ {
			if err := round(number); err != nil || ctx.Err() != nil {
				wrote <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-wrote
	}
}
