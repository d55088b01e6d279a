package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootVolumesOutsideOfRoots: a volume from elsewhere is refused where its line is; one that has become a link since
// is refused when the site wakes, and the site comes back with its folder.
func TestRootVolumesOutsideOfRoots(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	n.configure(options{more: fmt.Sprintf("volumeRoots: [%s]", n.dir)})
	n.start()
	elsewhere := t.TempDir()
	file := n.write("bad.yaml", n.spec("bad")+"volumes:\n  - {source: "+n.dir+", target: /a}\n  - source: "+elsewhere+"\n    target: /b\n")
	line := strings.Count(n.spec("bad"), "\n") + 3
	out := n.cliFails("apply", "-f", file)
	says(t, "apply", out, fmt.Sprintf("%s:%d:", file, line), "volumes[1].source", elsewhere, "volumeRoots", n.dir)
	if got := n.list(); len(got) > 0 {
		t.Errorf("applied: %q", got)
	}
	// The state folder lies below the root, and is nobody's volume all the same.
	file = n.write("bad.yaml", n.spec("bad")+"volumes: [{source: "+n.path("state/logs")+", target: /a}]\n")
	says(t, "apply", n.cliFails("apply", "-f", file), "the node's own")

	data := n.path("data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	s := n.deploy("good", "volumes: [{source: "+data+", target: /data}]")
	n.outside.greet(s.addr4(80))
	s.park()
	if err := errors.Join(os.Rename(data, data+".away"), os.Symlink(elsewhere, data)); err != nil {
		t.Fatal(err)
	}
	mark := n.mark()
	if conn, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v %v, want it refused", conn, err)
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, data+" is a symbolic link") {
		t.Errorf("the event says %q", ev.Reason)
	}
	if err := errors.Join(os.Remove(data), os.Rename(data+".away", data)); err != nil {
		t.Fatal(err)
	}
	s.wake()
	n.outside.greet(s.addr4(80))
}

// asNobody runs a shell command as a user without rights; files are its descriptors from 3 on.
func asNobody(command string, files ...*os.File) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// reachesNothing sends a user without rights into the node's folders, after a set-user-ID program that a site has.
func (n *node) reachesNothing(when string, addr netip.AddrPort) {
	n.t.Helper()
	if addr.IsValid() {
		n.outside.greet(addr)
	}
	state, run := n.path("state"), n.run("")
	uppers, err := filepath.Glob(filepath.Join(state, "replicas/*/upper"))
	if err != nil || addr.IsValid() && len(uppers) == 0 {
		n.t.Fatalf("%s: there is no writable layer: %v", when, err)
	}
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, upper := range uppers {
		trap := filepath.Join(upper, "trap")
		if err := errors.Join(os.WriteFile(trap, program, 0o755), os.Chmod(trap, 0o755|os.ModeSetuid)); err != nil {
			n.t.Fatal(err)
		}
		for _, attack := range []string{trap + " -c id", "cd " + upper, "ln " + trap + " /tmp/" + n.id, "cat " + trap} {
			if out, err := asNobody(attack); err == nil {
				n.t.Errorf("%s: as nobody, %q: %q", when, attack, out)
			}
		}
		// With a descriptor of a folder above, from a time when it could be opened, say.
		replicas, err := os.Open(filepath.Join(state, "replicas"))
		if err != nil {
			n.t.Fatal(err)
		}
		rest, _ := filepath.Rel(replicas.Name(), trap)
		if out, err := asNobody("/proc/self/fd/3/"+rest+" -c id", replicas); err == nil {
			n.t.Errorf("%s: by a descriptor: %q", when, out)
		}
		_ = replicas.Close() // a folder
	}
	out, _ := asNobody("find " + state + " " + run + " 2>/dev/null")
	if got := strings.Fields(out); len(got) != 2 {
		n.t.Errorf("%s: nobody finds %q", when, got)
	}
	if out, err := asNobody("ls " + state + " || ls " + run); err == nil {
		n.t.Errorf("%s: nobody lists %q", when, out)
	}
}

// TestRootHostUserReachesNothing: what sites write is nobody's to find on the machine, whatever has happened before.
func TestRootHostUserReachesNothing(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	// Nothing above the state folder is to be what keeps him out. In it are folders that an older fcnode has made.
	if err := errors.Join(os.Chmod(n.dir, 0o755), os.Chmod(filepath.Dir(n.dir), 0o755),
		os.MkdirAll(n.path("state/replicas"), 0o755), os.Chmod(n.path("state"), 0o711), os.MkdirAll(n.run("replicas"), 0o755)); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.await(0, "mended")
	s := n.deploy("one")
	n.reachesNothing("running", s.addr4(80))
	s.circulate()
	n.reachesNothing("circulated", s.addr4(80))
	n.kill()
	n.reachesNothing("without a daemon", netip.AddrPort{})
	n.start()
	n.reachesNothing("adopted", s.addr4(80))
	s.park()
	testutil.WaitFor(t, patience, "the replicas to end", func() error {
		left, err := filepath.Glob(n.path("state/replicas/*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("there are %q", left)
		}
		return err
	})
	n.reachesNothing("asleep", netip.AddrPort{})
}
