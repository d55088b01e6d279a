package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestExec(t *testing.T) {
	b := &recorded{sites: exampleSites()}
	c := newCLI(t).serve(t, b)
	tests := []struct {
		name, stdin    string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"output and code", "", []string{"shop", "--", "sh", "-c", "echo out; echo err >&2; exit 42"}, 42, "out\n", "err\n"},
		{"without the dashes, flags of the command", "", []string{"shop", "sh", "-c", "echo $0", "-it"}, 0, "-it\n", ""},
		{"input", "hello", []string{"-i", "shop", "--", "cat"}, 0, "hello", ""},
		{"no input", "hello", []string{"shop", "--", "cat"}, 0, "", ""},
		{"no site", "", []string{"nobody", "--", "true"}, exitNotFound, "", "fcnode: site \"nobody\": not found\n"},
		{"terminal without one", "", []string{"-it", "shop", "--", "sh"}, 1, "", "fcnode: -t needs -i and a terminal as standard input\n  hint: leave out -t\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.stdin = strings.NewReader(tt.stdin)
			code, stdout, stderr := c.run(t, append([]string{"exec"}, tt.args...)...)
			if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

func TestExecOptions(t *testing.T) {
	b := &recorded{sites: exampleSites()}
	c := newCLI(t).serve(t, b)
	c.run(t, "exec", "--replica", "shop-17", "-e", "A=1", "-e", "B=2", "-w", "/srv", "-u", "www:www", "shop", "true")
	b.mu.Lock()
	defer b.mu.Unlock()
	want := api.ExecRequest{Replica: "shop-17", Args: []string{"true"}, Env: []string{"A=1", "B=2"}, Cwd: "/srv", User: "www:www"}
	if diff := cmp.Diff(want, b.exec); diff != "" {
		t.Error(diff)
	}
}

// The whole way of a session: the user's terminal (a pty of the test), the
// command line, the daemon, the terminal of the process.
func TestExecTerminal(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	keyboard := withTerminal(t, c)
	script := `stty size; read x; echo "got $x"; exit 5`
	if _, err := keyboard.Write([]byte("hello\r")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	go func() {
		code, _, _ := c.run(t, "exec", "-it", "shop", "--", "sh", "-c", script)
		ended <- code
	}()
	if code := testutil.Receive(t, patience, "the session's end", ended); code != 5 {
		t.Errorf("exit code %d; stdout %q, stderr %q", code, c.out.String(), c.err.String())
	}
	for _, want := range []string{"31 97\r\n", "got hello\r\n"} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("the terminal shows %q, without %q", c.out.String(), want)
		}
	}
}

// withTerminal gives the command line a terminal as its standard input; what is
// written to the keyboard is typed there.
func withTerminal(t *testing.T, c *cli) (keyboard console.Console) {
	t.Helper()
	keyboard, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := keyboard.Resize(console.WinSize{Height: 31, Width: 97}); err != nil {
		t.Fatal(err)
	}
	user, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	c.stdin = user
	return keyboard
}

// A Ctrl-C that is typed is the session's, and so is a change of size.
func TestExecTerminalKeysAndSize(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	keyboard := withTerminal(t, c)
	r, w := io.Pipe()
	c.stdout = w
	screen := bufio.NewReader(r)
	script := `trap 'exit 6' INT; echo ready; while [ "$(stty size)" != "40 120" ]; do sleep 0.01; done; echo resized; while :; do sleep 0.01; done`
	ended := make(chan int, 1)
	go func() {
		code, _, _ := c.run(t, "exec", "-it", "shop", "--", "sh", "-c", script)
		w.Close()
		ended <- code
	}()
	testutil.WaitLine(t, patience, screen, "ready")
	if err := keyboard.Resize(console.WinSize{Height: 40, Width: 120}); err != nil {
		t.Fatal(err)
	}
	// The kernel tells the foreground of that terminal, which this process is
	// not.
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	testutil.WaitLine(t, patience, screen, "resized")
	if _, err := keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, screen) }()
	if code := testutil.Receive(t, patience, "the session's end", ended); code != 6 {
		t.Errorf("exit code %d", code)
	}
}

// What the command leaves behind, should anything be able to, holds its streams
// and writes on: the session ends with the command all the same, with all that
// this has written.
func TestExecEndsWithItsCommand(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	script := `(while echo more; do :; done) & head -c 3000000 /dev/zero | tr '\0' x >&2; exit 4`
	ended := make(chan int, 1)
	var stderr string
	go func() {
		var code int
		code, _, stderr = c.run(t, "exec", "shop", "--", "sh", "-c", script)
		ended <- code
	}()
	if code := testutil.Receive(t, patience, "the session's end", ended); code != 4 {
		t.Errorf("exit code %d", code)
	}
	if len(stderr) != 3000000 {
		t.Errorf("%d of 3000000 bytes came", len(stderr))
	}
}

// What comes after the end of the command is not the session's to read.
func TestExecLeavesTheRestOfItsInput(t *testing.T) {
	c := newCLI(t).serve(t, &recorded{sites: exampleSites()})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c.stdin = r
	if _, err := w.WriteString("first\n"); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := c.run(t, "exec", "-i", "shop", "--", "sh", "-c", "read x; echo $x"); code != 0 || stdout != "first\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	if _, err := w.WriteString("second\n"); err != nil {
		t.Fatal(err)
	}
	if line := testutil.WaitLine(t, patience, bufio.NewReader(r), "second"); line != "second" && line != "second\n" {
		t.Errorf("what is left of the input is %q", line)
	}
}

// The user's terminal is what it was, however the session ends.
func TestExecGivesTheTerminalBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"the command ends", []string{"shop", "--", "true"}},
		{"a signal ends it", []string{"shop", "--", "sh", "-c", "kill -9 $$"}},
		{"it makes its own terminal raw", []string{"shop", "--", "sh", "-c", "stty raw -echo"}},
		{"there is no such program", []string{"shop", "--", "/no/such/program"}},
		{"no site", []string{"nobody", "--", "true"}},
		{"the daemon breaks off", []string{"shop", "--", "sh", "-c", "kill -9 $$"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &recorded{sites: exampleSites(), breaks: tt.name == "the daemon breaks off"}
			c := newCLI(t).serve(t, b)
			withTerminal(t, c)
			user := c.stdin.(*os.File)
			before, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			c.run(t, append([]string{"exec", "-it"}, tt.args...)...)
			after, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the terminal has changed:\n%s", diff)
			}
		})
	}
}
