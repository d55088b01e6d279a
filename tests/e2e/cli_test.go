package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// cli runs a command of the command line and returns what it printed.
func (n *node) cli(args ...string) string {
	n.t.Helper()
	out, err := n.command(args...).CombinedOutput()
	if err != nil {
		n.t.Errorf("fcnode %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// cliFails runs one that is to fail, and returns what it printed.
func (n *node) cliFails(args ...string) string {
	n.t.Helper()
	out, err := n.command(args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() < 1 {
		n.t.Errorf("fcnode %s: %v, want it to fail\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// says checks that an output has all of the words.
func says(t *testing.T, what, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, out)
		}
	}
}

// TestRootCommandLine goes through a site's life by the commands that a person has.
func TestRootCommandLine(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	file := n.write("blog.yaml", n.spec("blog", "domains: [blog.example]"))
	says(t, "apply", n.cli("apply", "-f", file), "blog", "created", "10.77.0.1")
	says(t, "apply", n.cli("apply", "-f", file), "unchanged")
	says(t, "list", n.cli("list"), "blog", "10.77.0.1", "cold")

	s := n.find("blog")
	n.outside.greet(s.addr4(80))
	s.pid()
	s.await(0, "woken")
	says(t, "list", n.cli("list"), "running")
	says(t, "get", n.cli("get", "blog"), "blog.example", "running", "fd77:fc::1")
	says(t, "trace", n.cli("trace", "blog"), "198.51.100.2", api.StepHeld, api.StepListening, api.StepReleased, api.StepFirstByte)
	says(t, "events", n.cli("events"), "applied", "waking", "running", "first packet")
	says(t, "info", n.cli("info"), n.kernelRelease(), "fc0")

	var v api.Site
	if err := json.Unmarshal([]byte(n.cli("get", "blog", "-o", "json")), &v); err != nil || v.Phase != api.PhaseRunning || v.Spec == nil {
		t.Errorf("get -o json: %+v, %v", v, err)
	}
	s.awaitConns(0) // who is there keeps it awake
	n.cli("park", "blog")
	says(t, "list", n.cli("list"), "cold")
	n.cli("wake", "blog")
	says(t, "list", n.cli("list"), "running")
	n.cli("delete", "blog")
	says(t, "get", n.cliFails("get", "blog"), "not found")

	n.stop()
	says(t, "list without a daemon", n.cliFails("list"), "no daemon", "fcnode run")
	n.start()
}

func (n *node) kernelRelease() string {
	n.t.Helper()
	info, err := n.api.Info(n.ctx())
	if err != nil {
		n.t.Fatal(err)
	}
	return info.Kernel
}

// TestRootBadSpecIsExplained: by the command line, with its place and what would be right.
func TestRootBadSpecIsExplained(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	file := n.write("bad.yaml", n.spec("bad", "limits: {memory: 12XB}"))
	out := n.cliFails("apply", "-f", file)
	says(t, "apply", out, "bad.yaml:", "limits.memory", "12XB")
	if got := n.list(); len(got) > 0 {
		t.Errorf("the sites are %q", got)
	}
}

func TestRootLogs(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("chatty")
	n.outside.mustGet(s.addr4(80), "/print?out=first+out&err=first+err")
	s.park()
	n.outside.mustGet(s.addr4(80), "/print?out=second+out&err=second+err")
	lines := map[string]string{}
	for line, err := range n.api.Logs(n.ctx(), s.name, api.LogOptions{Tail: -1, Follow: true}) {
		if err != nil {
			t.Fatalf("following the log: %v; there was %q", err, lines)
		}
		lines[line.Text] = line.Stream + " " + line.Replica
		if len(lines) == 5 { // the four, and "listening on …" of both
			break
		}
	}
	for text, want := range map[string]string{
		"first out": "stdout chatty-1", "first err": "stderr chatty-1", "second out": "stdout chatty-2", "second err": "stderr chatty-2",
	} {
		if lines[text] != want {
			t.Errorf("the line %q is of %q, not of %q", text, lines[text], want)
		}
	}
	n.kill() // output is captured without a daemon
	n.outside.mustGet(s.addr4(80), "/print?out=third+out&err=third+err")
	n.start()
	testutil.WaitFor(t, patience, "what was printed while no daemon ran", func() error {
		if out := n.cli("logs", s.name); !strings.Contains(out, "third out") || !strings.Contains(out, "third err") {
			return errors.New(out)
		}
		return nil
	})
}

func TestRootExec(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("host")
	says(t, "exec in a parked site", n.cliFails("exec", "host", "--", "/site"), "host")
	if got := s.starts(0); got != 0 {
		t.Errorf("exec has woken the site: %q", s.story(0))
	}
	n.outside.greet(s.addr4(80))
	s.pid()

	cmd := n.command("exec", "-i", "-e", "GUEST=cat", "host", "--", "/site")
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("through\nand through\n"), &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("the exit code of the command is 42, that of exec %v", err)
	}
	if out.String() != "through\nand through\n" || errOut.String() != "the end\n" {
		t.Errorf("exec gives %q and %q", out.String(), errOut.String())
	}
	told := s.await(0, "executed")
	if fmt.Sprint(told.Fields["command"]) != "[/site]" || told.Fields["uid"] != float64(0) || told.Replica != "host-1" {
		t.Errorf("the event of an exec is %+v", told)
	}
	n.outside.mustGet(s.addr4(80), "/print?out=%1B%5B2Jcleared&err=%1B%5D0%3Btitle%07")
	testutil.WaitFor(t, patience, "the lines in the log", func() error {
		out := n.cli("logs", "host")
		if strings.ContainsAny(out, "\x1b\a") {
			t.Fatalf("a terminal would obey the site's output: %q", out)
		}
		if !strings.Contains(out, `\x1b[2Jcleared`) || !strings.Contains(out, `\x1b]0;title\x07`) {
			return errors.New(out)
		}
		return nil
	})
	says(t, "exec of nothing", n.cliFails("exec", "host", "--", "/no/such/program"), "/no/such/program")
	n.outside.greet(s.addr4(80))
}

// The administrator's own files are out of a site's reach, whatever it does with the streams of an exec.
func TestRootExecKeepsFiles(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("thief")
	n.outside.greet(s.addr4(80))
	s.pid()
	out, err := os.OpenFile(n.path("secret"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer typed.Close()
	before := inode(t, out)
	cmd := n.command("exec", "-i", "-e", "GUEST=grab", "thief", "--", "/site")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if after := inode(t, out); after.Mode != before.Mode || after.Uid != before.Uid {
		t.Errorf("the file of the output had mode %o and owner %d, and has %o and %d", before.Mode, before.Uid, after.Mode, after.Uid)
	}
	if b, err := os.ReadFile(out.Name()); err != nil || string(b) != "grabbed\n" {
		t.Errorf("the output is %q, %v", b, err)
	}
	// Nobody is left who reads the input.
	if _, err := typed.WriteString("secret\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != "secret\n" {
		t.Errorf("what is typed after the exec is %q, %v", buf[:n], err)
	}
	left := n.execs()
	if len(left) > 0 {
		t.Errorf("cgroups of execs are left: %v", left)
	}
}

// execs are the cgroups of all execs.
func (n *node) execs() []string {
	n.t.Helper()
	groups, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", n.id, "*", "exec-*"))
	if err != nil {
		n.t.Fatal(err)
	}
	return groups
}

func inode(t *testing.T, f *os.File) (st syscall.Stat_t) {
	t.Helper()
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// An exec ends when the command line is killed, and when the daemon is.
func TestRootExecEnds(t *testing.T) {
	testutil.Privileged(t)
	for _, name := range []string{"client killed", "daemon killed", "daemon stopped"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, options{})
			s := n.deploy("busy")
			n.outside.greet(s.addr4(80))
			s.pid()
			cmd := n.command("exec", "-i", "-e", "GUEST=cat", "busy", "--", "/site")
			in, inErr := cmd.StdinPipe()
			out, outErr := cmd.StdoutPipe()
			if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(in, "there\n"); err != nil {
				t.Fatal(err)
			}
			testutil.WaitLine(t, patience, bufio.NewReader(out), "there")
			if len(n.execs()) != 1 {
				t.Errorf("cgroups of execs: %v", n.execs())
			}
			switch name {
			case "client killed":
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			case "daemon killed":
				n.kill()
			default:
				n.stop()
			}
			testutil.WaitFor(t, patience, "the exec's end", func() error {
				if left := n.execs(); len(left) > 0 {
					return fmt.Errorf("cgroups %v", left)
				}
				return nil
			})
			if err := cmd.Wait(); err == nil {
				t.Error("the command line ends as if all were well")
			}
		})
	}
}

func TestRootCheckFindsNothingAmiss(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	var out []byte
	var err error
	n.ns.Do(t, func() { out, err = n.command("check", "--config", n.path("fcnode.yaml")).CombinedOutput() })
	if err != nil {
		t.Errorf("check on a machine where fcnode runs: %v\n%s", err, out)
	}
}
