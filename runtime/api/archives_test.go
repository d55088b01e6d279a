package api_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

func withFiles(t *testing.T) *rig {
	t.Helper()
	r := start(t)
	r.backend.Dir = t.TempDir()
	if err := errors.Join(os.Mkdir(r.backend.Dir+"/sub", 0o755), os.WriteFile(r.backend.Dir+"/sub/a", bytes.Repeat([]byte("x"), 3<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestArchives: what is read can be written, and an end that is no good one is an error.
func TestArchives(t *testing.T) {
	r := withFiles(t)
	var out bytes.Buffer
	var about api.Backup
	got, err := r.BackUp(t.Context(), "blog", "html", api.BackupOptions{StillFor: time.Second}, &out, func(b api.Backup) { about = b })
	if err != nil || got.Files != 3 || got.Bytes != 3<<20 || about != (api.Backup{StillNs: time.Second, Files: 3, CopiedBytes: 7}) {
		t.Fatalf("%+v, %+v, %v", got, about, err)
	}
	other := t.TempDir()
	from := r.backend.Dir
	r.backend.Dir = other
	if _, err := r.RestoreVolume(t.Context(), "blog", "html", true, bytes.NewReader(out.Bytes())); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(other + "/sub/a"); err != nil || len(b) != 3<<20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	r.backend.Dir = from
	out.Reset()
	if _, err := r.ReadFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/sub"}, &out); err != nil {
		t.Error(err)
	}
	if got, err := r.WriteFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/new"}, api.WriteOptions{}, &out); err != nil || got.Files != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Stat(from + "/new/a"); err != nil {
		t.Error(err)
	}
	r.backend.Err = errors.New("the disk is broken")
	if _, err := r.ReadFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/sub"}, io.Discard); !errors.Is(err, api.ErrInternal) || !strings.Contains(err.Error(), "disk is broken") {
		t.Errorf("an archive that is broken off: %v", err)
	}
	r.backend.Err = nil
	full := errors.New("the backup's disk is full")
	if _, err := r.ReadFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/sub"}, failing{full}); !errors.Is(err, full) {
		t.Errorf("the caller's own error: %v", err)
	}
	if _, err := r.WriteFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/"}, api.WriteOptions{}, failing{full}); !errors.Is(err, full) {
		t.Errorf("the caller's own error: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

// TestUploadRefused: a call that is refused is refused before anything is sent.
func TestUploadRefused(t *testing.T) {
	r := withFiles(t)
	read := failing{errors.New("it was read")}
	if _, err := r.RestoreVolume(t.Context(), "blog", "html", false, read); !errors.Is(err, api.ErrBusy) {
		t.Errorf("restore: %v", err)
	}
	if _, err := r.WriteFiles(t.Context(), api.FilePlace{Site: "blog", Path: "relative"}, api.WriteOptions{}, read); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("write: %v", err)
	}
	if _, err := r.BackUp(t.Context(), "blog", "gone", api.BackupOptions{}, io.Discard, nil); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("back up: %v", err)
	}
	if _, err := r.ReadFiles(t.Context(), api.FilePlace{Site: "blog", Path: "/nothing"}, io.Discard); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("read: %v", err)
	}
}

// TestForward: the client has a socket of its own, and its end is told.
func TestForward(t *testing.T) {
	r := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	r.backend.Done = make(chan struct{}, 1)
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	c, err := r.Connect(t.Context(), "blog", api.ForwardRequest{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if c.Replica != "blog-1" {
		t.Errorf("replica %q", c.Replica)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	select {
	case <-r.backend.Done:
		t.Fatal("it is over before the client says so")
	default:
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	testutil.Receive(t, patience, "the end of the connection", r.backend.Done)
	if _, err := r.Connect(t.Context(), "blog", api.ForwardRequest{Port: port, Asleep: true}); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("asleep: %v", err)
	}
	if _, err := r.Connect(t.Context(), "blog", api.ForwardRequest{}); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("no port: %v", err)
	}
}
