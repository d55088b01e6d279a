package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = Conn(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// TestSendRecv: messages of any size, each with its descriptors.
func TestSendRecv(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	big := StartRequest{ID: "big", Env: []string{strings.Repeat("x", 1<<20)}, Mounts: []Mount{{Source: "/a", Target: "/b", ReadOnly: true}}}
	sent := make(chan error, 1)
	go func() {
		sent <- errors.Join(Send(a, big, w), w.Close(), Send(a, Started{Pid: 7}), a.Close())
	}()
	var got StartRequest
	files, err := Recv(b, &got)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if d := cmp.Diff(big, got); d != "" {
		t.Error(d)
	}
	var started Started
	if files, err := Recv(b, &started); err != nil || len(files) != 0 || started.Pid != 7 {
		t.Errorf("%+v %v %v", started, files, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if _, err := Recv(b, &started); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want EOF", err)
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Error(err)
	}
	_ = files[0].Close()
	if text, err := io.ReadAll(r); string(text) != "through" || err != nil {
		t.Errorf("the descriptor that came: %q %v", text, err)
	}
}

func TestRecvBad(t *testing.T) {
	for name, bytes := range map[string]string{
		"cut head": "\x00\x00", "cut body": "\x00\x00\x00\x09{}", "not JSON": "\x00\x00\x00\x01x", "too long": "\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			if _, err := a.Write([]byte(bytes)); err != nil {
				t.Fatal(err)
			}
			_ = a.CloseWrite()
			var v Started
			if _, err := Recv(b, &v); err == nil || errors.Is(err, io.EOF) && err == io.EOF { //nolint:errorlint // io.EOF alone means a clean end
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	want := State{ID: "a", Shim: Process{Pid: 1, Start: 2}, Meta: map[string]string{"k": "v"}}
	for range 2 { // also over an older one
		if err := WriteFile(dir, StateFile, want); err != nil {
			t.Fatal(err)
		}
	}
	var got State
	if err := ReadFile(dir, StateFile, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("files %v %v, want one", entries, err)
	}
	if err := ReadFile(dir, ExitFile, &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ExitFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReadFile(dir, ExitFile, &got); err == nil || !strings.Contains(err.Error(), ExitFile) {
		t.Errorf("a broken file: %v", err)
	}
}

func TestProcess(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := FindProcess(cmd.Process.Pid)
	if err != nil || p.Start == 0 {
		t.Fatalf("%+v %v", p, err)
	}
	fd, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if _, err := (Process{Pid: p.Pid, Start: p.Start + 1}).Open(); !errors.Is(err, ErrGone) {
		t.Errorf("another process of that number: %v, want ErrGone", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := p.Open(); !errors.Is(err, ErrGone) {
		t.Errorf("a process that has ended: %v, want ErrGone", err)
	}
	if _, err := FindProcess(p.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("its number: %v, want ErrGone", err)
	}
}

// TestProcessName: a name with spaces and parentheses does not shift the fields.
func TestProcessName(t *testing.T) {
	want, err := FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile("/proc/self/comm", old, 0) }()
	if err := os.WriteFile("/proc/self/comm", []byte("a) S 1 (b"), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := FindProcess(os.Getpid()); got != want || err != nil {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

func TestNow(t *testing.T) {
	before := Now()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	if after := Now(); before > ts.Nano() || ts.Nano() > after {
		t.Errorf("%d, %d, %d do not follow each other", before, ts.Nano(), after)
	}
}

// TestOtherVersion: a message of another release is not taken for one of this, and the
// error names both.
func TestOtherVersion(t *testing.T) {
	a, b := pair(t)
	if _, err := a.Write([]byte("\x63\x00\x00\x09{\"pid\":7}")); err != nil {
		t.Fatal(err)
	}
	var v Started
	_, err := Recv(b, &v)
	var version *VersionError
	if !errors.As(err, &version) || version.Ours != Version || version.Theirs != 99 {
		t.Fatalf("error %v", err)
	}
	if text := err.Error(); v.Pid != 0 || !strings.Contains(text, "version 99") || !strings.Contains(text, fmt.Sprint("version ", Version)) {
		t.Errorf("%+v: %s", v, text)
	}
	// The next one can be read: an answer in the words of this version, say.
	if err := Send(a, Started{Pid: 8}); err != nil {
		t.Fatal(err)
	}
	if _, err := Recv(b, &v); err != nil || v.Pid != 8 {
		t.Errorf("%+v %v", v, err)
	}
}
