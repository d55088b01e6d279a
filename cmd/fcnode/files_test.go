package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/packed"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/api/apitest"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestParsePlace(t *testing.T) {
	for arg, want := range map[string]*api.FilePlace{
		"blog:/etc":              {Site: "blog", Path: "/etc"},
		"blog:/a:b":              {Site: "blog", Path: "/a:b"},
		"volume:blog/html:/":     {Site: "blog", Volume: "html", Path: "/"},
		"./blog:/etc":            nil,
		"/srv/a:b":               nil,
		"dir/a:b":                nil,
		"plain":                  nil,
		"-":                      nil,
		".":                      nil,
		"volume:blog/html:/a:/b": {Site: "blog", Volume: "html", Path: "/a:/b"},
	} {
		got, err := parsePlace(arg)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", arg, err, diff)
		}
	}
	for _, arg := range []string{"blog:etc", "blog:", "volume:blog", "volume:blog:/x", "volume:blog/html:x"} {
		if p, err := parsePlace(arg); err == nil {
			t.Errorf("%s is %+v", arg, p)
		}
	}
}

func filesCLI(t *testing.T) (c *cli, b *recorded) {
	t.Helper()
	b = &recorded{sites: exampleSites(), Folder: apitest.Folder{Dir: t.TempDir()}}
	if err := errors.Join(os.Mkdir(b.Dir+"/www", 0o755), os.WriteFile(b.Dir+"/www/page", []byte("page"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return newCLI(t).serve(t, b), b
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s holds %q, %v", path, b, err)
	}
}

func TestVolumeBackup(t *testing.T) {
	c, b := filesCLI(t)
	local := t.TempDir()
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"} {
		file := filepath.Join(local, name)
		code, out, stderr := c.run(t, "volume", "backup", "blog/html", file, "--still-for", "2s")
		if code != 0 || out != "" || stderr != "blog/html  3 files, 4 B; the site stood still for 2s (copied)\n" {
			t.Errorf("backup: %d %q %q", code, out, stderr)
		}
		if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
			t.Errorf("%v, %v", fi, err)
		}
		if err := os.RemoveAll(b.Dir + "/www"); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := c.run(t, "volume", "restore", "blog/html", file); code != 1 || !strings.Contains(stderr, "it runs") {
			t.Errorf("restore: %d %q", code, stderr)
		}
		if code, out, stderr := c.run(t, "volume", "restore", "--force", "blog/html", file); code != 0 || !strings.HasPrefix(out, "blog/html  restored: ") {
			t.Errorf("restore: %d %q %q", code, out, stderr)
		}
		holds(t, b.Dir+"/www/page", "page")
	}
	// What fails leaves the last good one.
	b.Err = errors.New("the disk is broken")
	file := filepath.Join(local, "a.tar.zst")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := c.run(t, "volume", "backup", "blog/html", file); code != 1 || !strings.Contains(stderr, "disk is broken") {
		t.Errorf("a backup that breaks off: %d %q", code, stderr)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the last backup has changed, %v", err)
	}
	if left, err := os.ReadDir(local); err != nil || len(left) != 4 {
		t.Errorf("there is %v, %v", left, err)
	}
	if code, _, stderr := c.run(t, "volume", "backup", "blog/html", filepath.Join(local, "a.zip")); code != 1 || !strings.Contains(stderr, "does not say how it is compressed") {
		t.Errorf("a zip: %d %q", code, stderr)
	}
	// What is no file is found before the site stands still, and not replaced.
	fifo := filepath.Join(local, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{local, fifo} {
		if code, _, stderr := c.run(t, "volume", "backup", "blog/html", path, "--compress", "none"); code != 1 || !strings.Contains(stderr, "is not a regular file") {
			t.Errorf("%s: %d %q", path, code, stderr)
		}
	}
	if fi, err := os.Lstat(fifo); err != nil || fi.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the FIFO is %v, %v", fi, err)
	}
	if err := os.Truncate(file, int64(len(before)-5)); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := c.run(t, "volume", "restore", "--force", "blog/html", file); code != 1 {
		t.Errorf("a file that is cut off: %d %q", code, stderr)
	}
}

func TestCp(t *testing.T) {
	c, b := filesCLI(t)
	local := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if code, out, stderr := c.run(t, append([]string{"cp"}, args...)...); code != 0 || out+stderr != "" {
			t.Errorf("cp %q: %d %q %q", args, code, out, stderr)
		}
	}
	run("blog:/www/page", local)
	holds(t, local+"/page", "page")
	run("volume:blog/html:/www", local+"/other")
	holds(t, local+"/other/page", "page")
	run(local+"/other/.", "blog:/www/copy")
	holds(t, b.Dir+"/www/copy/page", "page")
	t.Chdir(local + "/other")
	if err := os.Mkdir(b.Dir+"/dots", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{".", "./", "./.", "../other/."} { // what is in it, as cp -r does
		run(from, "blog:/dots")
		holds(t, b.Dir+"/dots/page", "page")
		if err := os.Remove(b.Dir + "/dots/page"); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(b.Dir + "/dots"); err != nil || len(left) != 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	run("..", "blog:/dots")
	holds(t, b.Dir+"/dots/"+filepath.Base(local)+"/other/page", "page")
	if code, out, _ := c.run(t, "cp", "blog:/www/page", "-"); code != 0 {
		t.Errorf("to an archive: %d", code)
	} else if hdr, err := tar.NewReader(strings.NewReader(out)).Next(); err != nil || hdr.Name != "page" {
		t.Errorf("%+v, %v", hdr, err)
	} else {
		c.stdin = strings.NewReader(out)
		run("-", "blog:/www/from-stdin")
		holds(t, b.Dir+"/www/from-stdin", "page")
	}
	for want, args := range map[string][]string{
		"one of FROM and TO": {"a", "b"}, "not absolute": {"blog:a", "b"}, "no such file": {local + "/gone", "blog:/x"},
		"no such file or directory": {"blog:/gone", local}, "--chown is for": {"blog:/www", local, "--chown", "0"}, "no such folder": {"blog:/www/page", local + "/gone/"},
	} {
		if code, _, stderr := c.run(t, append([]string{"cp"}, args...)...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("cp %q: %d %q", args, code, stderr)
		}
	}
	b.Err = errors.New("the disk is broken")
	if code, _, stderr := c.run(t, "cp", "blog:/www", local+"/broken"); code != 1 || !strings.Contains(stderr, "disk is broken") {
		t.Errorf("broken off: %d %q", code, stderr)
	}
}

// TestPackedRoundTrip: what is compressed is read by how it begins.
func TestPackedRoundTrip(t *testing.T) {
	for _, kind := range packed.Kinds {
		var out bytes.Buffer
		w, err := packed.Writer(&out, kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, strings.Repeat("text", 1000)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		r, err := packed.Reader(&out)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || len(b) != 4000 || r.Close() != nil {
			t.Errorf("%s: %d bytes, %v", kind, len(b), err)
		}
	}
	if _, err := packed.Writer(io.Discard, "rar"); err == nil {
		t.Error("rar is no error")
	}
}

// TestPortForward: what is sent arrives, the end of one side reaches the other, and an interrupt ends all.
func TestPortForward(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	go func() {
		for {
			c, err := there.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	_, port, err := net.SplitHostPort(there.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b := &recorded{sites: exampleSites(), Folder: apitest.Folder{Done: make(chan struct{}, 8)}}
	c := newCLI(t).serve(t, b)
	out, in := io.Pipe()
	c.stdout = in
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() { code <- execute(ctx, &c.env, []string{"port-forward", "blog", "0:" + port}) }()
	buf := make([]byte, 200)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	addr, _, ok := strings.Cut(string(buf[:n]), " -> blog:"+port)
	if !ok {
		t.Fatalf("it says %q", buf[:n])
	}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	conn := dial()
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = conn.Close() // both ends are
	testutil.Receive(t, patience, "the end of the connection", b.Done)
	conn = dial()
	if _, err := io.ReadFull(conn, buf[:5]); err != nil {
		t.Error(err)
	}
	cancel()
	if got := testutil.Receive(t, patience, "the end of the command", code); got != 0 {
		t.Errorf("exit code %d: %s", got, c.err.String())
	}
	testutil.Receive(t, patience, "the end of the connection", b.Done)
	_ = conn.Close()

	// A port that cannot be had ends the command, also if somebody has come to another one by then.
	go func() {
		code <- execute(t.Context(), &c.env, []string{"port-forward", "blog", "0:" + port, "0:" + port, "0"})
	}()
	if n, err = out.Read(buf); err != nil {
		t.Fatal(err)
	}
	addr, _, _ = strings.Cut(string(buf[:n]), " ")
	conn = dial()
	defer conn.Close()
	if _, err := io.ReadFull(conn, buf[:5]); err != nil {
		t.Error(err)
	}
	if _, err = out.Read(buf); err != nil { // the command goes on to the port that there is not
		t.Fatal(err)
	}
	if got := testutil.Receive(t, patience, "the end of the command", code); got != 1 {
		t.Errorf("exit code %d: %s", got, c.err.String())
	}
	testutil.Receive(t, patience, "the end of the connection", b.Done)

	for _, arg := range []string{"x", "0", "1:", ":2", "70000", "1:2:3"} {
		if code, _, _ := c.run(t, "port-forward", "blog", arg); code != 1 {
			t.Errorf("%s: %d", arg, code)
		}
	}
	if code, _, _ := c.run(t, "port-forward", "nobody", "80"); code != 3 {
		t.Errorf("no site: %d", code)
	}
}
