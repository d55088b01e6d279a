package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// envCounter makes this binary a server that counts its visitors.
const envCounter = "FCNODE_KERNELS_COUNTER"

const counterAddr = "127.0.0.1:8080"

// count answers each connection with how many there have been.
func count() error {
	l, err := net.Listen("tcp4", counterAddr)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(c, n); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
}

// TestRootCRIU dumps a server in a network namespace that stays and restores it there, as fcnode does
// (its sockets, no iptables), with the CRIU that packaging/criu.sh chooses for this kernel.
func TestRootCRIU(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "CRIU")
	version, err := testutil.CRIUVersion()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("CRIU %s at %s", version, testutil.CRIU())
	ns := testutil.NetNS(t)
	// What whoever started the tests has left open is not the server's.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	// By its path: what /proc/self/exe leads to lies on a mount outside of the sandbox, where CRIU finds nothing.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(self)
	// An MPTCP listener, Go's default, cannot be dumped.
	server.Env = append(os.Environ(), envCounter+"=1", "GODEBUG=multipathtcp=0")
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ns.Start(t, server)
	pid := server.Process.Pid
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) }) // what a failed test leaves
	visit(t, ns, "1")

	link := fmt.Sprintf("net[%d]", inode(t, fmt.Sprintf("/proc/%d/ns/net", pid)))
	images := t.TempDir()
	criu(t, nil, "dump", "--images-dir", images, "--tree", strconv.Itoa(pid), "--external", link+":extnet",
		"--manage-cgroups=ignore", "--network-lock", "skip", "--tcp-close")
	if err := server.Wait(); err == nil {
		t.Error("the server ended in order, not by its dump")
	}
	pidfile := filepath.Join(images, "pid")
	criu(t, ns.File(t), "restore", "--images-dir", images, "--restore-detached", "--pidfile", pidfile,
		"--inherit-fd", "fd[3]:extnet", "--external", link+":extnet", "--manage-cgroups=ignore", "--tcp-close")
	visit(t, ns, "2")
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	testutil.WaitExit(t, 10*time.Second, pid)
}

// visit asks the counter, which may not listen yet.
func visit(t *testing.T, ns *testutil.NS, want string) {
	t.Helper()
	testutil.WaitFor(t, 20*time.Second, "visitor "+want, func() error {
		var got []byte
		var err error
		ns.Do(t, func() {
			var c net.Conn
			if c, err = net.Dial("tcp4", counterAddr); err == nil {
				got, err = io.ReadAll(c)
				err = errors.Join(err, c.Close())
			}
		})
		if err == nil && string(got) != want {
			t.Fatalf("the server counts %s visitors, want %s", got, want)
		}
		return err
	})
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// criu runs it with a file as descriptor 3, and shows its log when it fails.
func criu(t *testing.T, file *os.File, action string, args ...string) {
	t.Helper()
	images := args[1]
	cmd := exec.CommandContext(t.Context(), testutil.CRIU(), append([]string{action, "--verbosity=4", "--log-file", action + ".log"}, args...)...)
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return
	}
	log, _ := os.ReadFile(filepath.Join(images, action+".log")) // only for the message
	lines := strings.Split(string(bytes.TrimSpace(log)), "\n")
	t.Fatalf("criu %s: %v\n%s\n%s", action, err, out, strings.Join(lines[max(0, len(lines)-40):], "\n"))
}
