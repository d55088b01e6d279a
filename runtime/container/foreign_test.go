package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// program386 is a static program for 32-bit x86, which says "386" and ends.
func program386() []byte {
	const base, head = 0x08048000, 52 + 32
	code := []byte{
		0xb8, 4, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9, 0, 0, 0, 0, 0xba, 4, 0, 0, 0, 0xcd, 0x80, // write(1, text, 4)
		0xb8, 1, 0, 0, 0, 0xbb, 0, 0, 0, 0, 0xcd, 0x80, // exit(0)
	}
	binary.LittleEndian.PutUint32(code[11:], uint32(base+head+len(code)))
	code = append(code, "386\n"...)
	size := uint32(head + len(code))
	elf := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	for _, field := range []any{
		uint16(2), uint16(3), uint32(1), uint32(base + head), uint32(52), uint32(0), uint32(0), uint16(52), uint16(32), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(0), uint32(base), uint32(base), size, size, uint32(5), uint32(0x1000),
	} {
		elf, _ = binary.Append(elf, binary.LittleEndian, field) // fixed sizes
	}
	return append(elf, code...)
}

// put386 puts the program into the image, and says whether this machine runs such.
func (e *env) put386() error {
	e.t.Helper()
	e.file("bin/old", string(program386()), 0o755)
	out, err := exec.Command(filepath.Join(e.lower, "bin/old")).CombinedOutput()
	if err != nil || string(out) != "386\n" {
		return fmt.Errorf("this machine runs no 386 programs: %q, %w", out, err)
	}
	return nil
}

func need386(t *testing.T, e *env) {
	t.Helper()
	if err := e.put386(); err != nil {
		t.Skip(testutil.SkipMarker, err)
	}
}

// TestRootForeignPrograms: a 32-bit program runs in sites that say so, started, prepared and executed; in all others it is refused with the
// line that would allow it, or killed at its first system call.
func TestRootForeignPrograms(t *testing.T) {
	e := newEnv(t)
	need386(t, e)
	old := func(allowed bool) Spec {
		spec := e.spec()
		spec.Args = []string{"/bin/old"}
		if allowed {
			spec.Architectures = []string{"386"}
		}
		return spec
	}
	_, _, err := e.m.Start(testutil.Context(t, limit), old(false))
	if !errors.Is(err, ErrExec) || !strings.Contains(err.Error(), "architectures: [amd64, 386]") {
		t.Errorf("where nothing allows it: %v", err)
	}
	spec := old(true)
	if exit, out := e.run(spec); out != "386\n" || exit.Code != 0 {
		t.Errorf("started: %q, %+v", out, exit)
	}
	spec = old(true)
	p, _, err := e.m.Prepare(testutil.Context(t, limit), spec)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := p.Open(testutil.Context(t, limit))
	if err != nil {
		t.Fatal(err)
	}
	e.ended(c)
	if out := e.output(spec); out != "386\n" {
		t.Errorf("prepared: %q", out)
	}
	e.remove(c)
	for _, allowed := range []bool{false, true} {
		spec = e.spec("sleep")
		spec.Architectures = old(allowed).Architectures
		c = e.start(spec)
		e.saw(spec, "sleeping")
		code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/old"}}, "")
		if want := map[bool]string{true: "386\n"}[allowed]; out != want || (code == 0) != allowed {
			t.Errorf("executed, allowed %v: %q, exit code %d", allowed, out, code)
		}
		// The filter is one: it refuses the same to both kinds of programs.
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "syscall", "272"}}, ""); out != "errno 1\n" {
			t.Errorf("unshare, with 386 allowed %v: %q", allowed, out)
		}
	}
}

// TestRootForeignProgramsOfOwnUserns: nor does a user namespace stand against it.
func TestRootForeignProgramsOfOwnUserns(t *testing.T) {
	e := newEnv(t).private()
	need386(t, e)
	spec := e.spec()
	spec.Args, spec.Architectures = []string{"/bin/old"}, []string{"386"}
	if exit, out := e.run(spec); out != "386\n" || exit.Code != 0 {
		t.Errorf("%q, %+v", out, exit)
	}
}

// TestRootRestoredWithMemory: what a restored site had in its folders in memory is there, /dev/shm has its size, and it may run 32-bit programs as before.
func TestRootRestoredWithMemory(t *testing.T) {
	e := newEnv(t)
	needCRIU(t, e.m)
	no386 := e.put386()
	ns := replicaNS(t)
	site := func() Spec {
		spec := e.counterSpec(ns, "0", "/tmp/kept")
		spec.ReadOnlyRoot, spec.ShmSize = true, 1<<20
		if runtime.GOARCH == "amd64" {
			spec.Architectures = []string{"386"}
		}
		spec.Mounts = []Mount{{Tmpfs: true, Target: "/tmp"}, {Tmpfs: true, Target: "/run", Size: 1 << 20}}
		return spec
	}
	spec := site()
	c := e.start(spec)
	e.saw(spec, "listening")
	if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "touch", "/run/kept"}}, ""); !strings.Contains(out, "<nil>") {
		t.Fatalf("/run/kept: %s", out)
	}
	for round := range 2 {
		e.park(c, e.checkpointDir(), options())
		c = e.restore(site(), e.checkpointDir())
		e.checkInMemory(c, map[string]int64{"/dev/shm": 1 << 20, "/run": 1 << 20})
		if _, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "stat", "/run/kept"}}, ""); strings.Contains(out, "no such file") {
			t.Errorf("round %d: /run/kept: %s", round, out)
		}
		if no386 != nil {
			continue
		}
		if code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/old"}}, ""); code != 0 || out != "386\n" {
			t.Errorf("round %d: %q, exit code %d", round, out, code)
		}
	}
}
