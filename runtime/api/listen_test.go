package api_test

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
)

// makeStale leaves what a killed daemon leaves: a socket file without a listener.
func makeStale(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

func TestListen(t *testing.T) {
	group, err := user.LookupGroupId("0")
	if err != nil {
		t.Skipf("no group 0 here: %v", err)
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
	}{
		{"fresh, in a folder that is not there", func(*testing.T, string) {}},
		{"in the place of a stale one", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			makeStale(t, path)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "s")
			tt.prepare(t, path)
			name := ""
			if os.Getuid() == 0 {
				name = group.Name
			}
			ln, grouped, err := api.Listen(path, name)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			fi, err := os.Lstat(path)
			if err != nil || fi.Mode() != os.ModeSocket|0o660 {
				t.Errorf("socket: %v, %v", fi.Mode(), err)
			}
			if grouped != (name != "") || fi.Sys().(*syscall.Stat_t).Gid != uint32(os.Getgid()) {
				t.Errorf("grouped = %v", grouped)
			}
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			ln.Close()
			left, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	used := filepath.Join(dir, "used")
	ln, _, err := api.Listen(used, "no such group")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, _, err := api.Listen(used, ""); !errors.Is(err, api.ErrInUse) {
		t.Errorf("second daemon: %v", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Listen(file, ""); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 120), "s")
	if _, _, err := api.Listen(long, ""); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("long path: %v", err)
	}
}

func TestCloseLeavesAnotherDaemonsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, _, err := api.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, _, err := api.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the first listener removed the second's socket: %v", err)
	}
}
