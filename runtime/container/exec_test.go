package container

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// execOut runs the guest in the container and gives its code and output.
func (e *env) execOut(c *Container, spec ExecSpec, input string) (int, string) {
	e.t.Helper()
	p, err := c.Exec(testutil.Context(e.t, limit), spec)
	if err != nil {
		e.t.Fatal(err)
	}
	files := p.Files()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	go func() {
		_, _ = files[0].WriteString(input) // the process need not read it
		files[0].Close()
	}()
	out := make([][]byte, 2)
	var reading sync.WaitGroup
	for i, f := range files[1:] {
		reading.Go(func() { out[i], _ = io.ReadAll(f) }) // no more writers: its end
	}
	code, err := p.Wait(testutil.Context(e.t, limit))
	reading.Wait()
	if err = errors.Join(err, p.Close()); err != nil {
		e.t.Fatal(err)
	}
	return code, string(out[0]) + string(out[1])
}

func TestRootExec(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")

	code, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "copy"}}, "one\ntwo\n")
	if code != 0 || out != "got one\ngot two\nend\n" {
		t.Errorf("copy: code %d, output %q", code, out)
	}
	if code, _ := e.execOut(c, ExecSpec{Args: []string{"guest", "exit", "9"}, Env: []string{"PATH=/bin"}}, ""); code != 9 {
		t.Errorf("code %d, want 9", code)
	}
	_, out = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "status"}}, "")
	got := fields(out)
	for name, want := range map[string]string{"CapEff": defaultCaps, "CapBnd": defaultCaps, "NoNewPrivs": "1", "Seccomp": "2"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	_, out = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "id"}, User: "web"}, "")
	if !strings.HasPrefix(out, "1000 1001 ") {
		t.Errorf("user %q", out)
	}
	_, out = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", "/proc/self/cgroup", "/proc/self/comm"}, Cwd: "/etc"}, "")
	if !strings.Contains(out, "0::/exec-") {
		t.Errorf("cgroup %q", out)
	}
	_, out = e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "hostname"}}, "")
	if strings.TrimSpace(out) != spec.Hostname {
		t.Errorf("host name %q", out)
	}
}

func TestRootExecFails(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	ctx := testutil.Context(t, limit)
	if _, err := c.Exec(ctx, ExecSpec{Args: []string{"/bin/nothing"}}); !errors.Is(err, ErrExec) || !strings.Contains(err.Error(), "/bin/nothing") {
		t.Errorf("missing program: %v", err)
	}
	if _, err := c.Exec(ctx, ExecSpec{Args: []string{"/bin/guest"}, User: "nobody-here"}); !errors.Is(err, ErrUser) {
		t.Errorf("missing user: %v", err)
	}
	if _, err := c.Exec(ctx, ExecSpec{}); !errors.Is(err, ErrSpec) {
		t.Errorf("nothing: %v", err)
	}
	if err := c.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, ExecSpec{Args: []string{"/bin/guest", "id"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestRootExecTTY(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("wait")
	c := e.start(spec)
	e.saw(spec, "waiting")
	p, err := c.Exec(testutil.Context(t, limit), ExecSpec{Args: []string{"/bin/guest", "tty"}, TTY: true, Cols: 90, Rows: 33})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	console := p.Files()[0]
	defer console.Close()
	r := bufio.NewReader(console)
	testutil.WaitLine(t, limit, r, "terminal 90 33")
	if err := unix.IoctlSetWinsize(int(console.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 120, Row: 40}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(console, "typed\n"); err != nil {
		t.Fatal(err)
	}
	testutil.WaitLine(t, limit, r, "read typed 120 40")
	if code, err := p.Wait(testutil.Context(t, limit)); code != 0 || err != nil {
		t.Errorf("code %d %v", code, err)
	}
}
