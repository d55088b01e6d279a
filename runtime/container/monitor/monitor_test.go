package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/logs"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// limit is how long a test waits for what should take milliseconds.
const limit = 20 * time.Second

// envParent has this test binary be what a shim is: it starts a child, which is the
// container's init, and executes the monitor in its own place.
const envParent = "FCNODE_TEST_MONITOR"

func TestMain(m *testing.M) {
	if text := os.Getenv(envParent); text != "" {
		fmt.Fprintln(os.Stderr, parentMain(text))
		os.Exit(1)
	}
	testutil.Main(m)
}

// program is fcnode-monitor: what the rig has built, or what is built here once.
var program = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("FCNODE_BIN_DIR"); dir != "" {
		return filepath.Join(dir, Name), nil
	}
	dir, err := os.MkdirTemp("", "fcnode-monitor-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, Name)
	if out, err := exec.Command("../../../packaging/monitor.sh", path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", Name, err, out)
	}
	return path, nil
})

// job is what the parent gets to know. Its descriptors: 3 is the program, 4 and 5 are the reading ends of the output.
type job struct {
	Options
	Init       []string // the command
	Server     []string // of memory; none: all of it is there
	Checkpoint string
	Asked      bool // to end, while the monitor is loaded
}

func parentMain(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	start := func(command []string) (int, error) {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err := cmd.Start()
		if err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}
	var err error
	if j.Options.Init, err = start(j.Init); err != nil {
		return err
	}
	if j.Server != nil {
		if j.Pages.Server, err = start(j.Server); err != nil {
			return err
		}
		if j.Pages.Checkpoint, err = os.Open(j.Checkpoint); err != nil {
			return err
		}
		j.Pages.Held = []*os.File{j.Pages.Checkpoint}
	}
	for fd := 3; fd <= 5; fd++ {
		unix.CloseOnExec(fd)
	}
	j.Stdout, j.Stderr = os.NewFile(4, "stdout"), os.NewFile(5, "stderr")
	if err := unix.Dup2(int(must(os.Open(os.DevNull)).Fd()), 1); err != nil { // the ends that init writes to are its own
		return err
	}
	if j.Asked {
		runtime.LockOSThread()
		mask := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGTERM - 1)}}
		err := errors.Join(unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil), unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGTERM))
		if err != nil {
			return err
		}
	}
	return Exec(os.NewFile(3, "program"), j.Options)
}

func must(f *os.File, err error) *os.File {
	if err != nil {
		panic(err)
	}
	return f
}

// run is a monitor with what it works on.
type run struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // of the replica
	log    string
	in     io.WriteCloser // of init
	stderr io.Writer      // of the container; nobody else holds it
	errs   *os.File       // what the monitor says
	ended  chan struct{}
}

func options(t *testing.T) Options {
	dir := t.TempDir()
	o := Options{
		Container: wire.Monitor{
			ID: "shop-3", Dir: filepath.Join(dir, "replica"), LogDir: filepath.Join(dir, "log"), LogMaxSize: 1 << 20, LogFiles: 3,
			StopSignal: int(unix.SIGTERM),
		},
		Cgroup: filepath.Join(dir, "cgroup"), LibDir: filepath.Join(dir, "lib"),
	}
	for _, d := range []string{o.Container.Dir, o.Container.LogDir, o.Cgroup, filepath.Join(o.LibDir, "below")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// begin runs a monitor over init, a shell command; its output is the container's.
func begin(t *testing.T, o Options, init string) *run {
	return beginJob(t, job{Options: o, Init: []string{"/bin/sh", "-c", init}})
}

func beginJob(t *testing.T, j job) *run {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, dir: j.Container.Dir, log: j.Container.LogDir, ended: make(chan struct{})}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	out, outW, err1 := os.Pipe()
	errR, errW, err2 := os.Pipe()
	binary, err3 := os.Open(path)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), envParent+"="+string(text))
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if r.errs, err = os.Create(filepath.Join(t.TempDir(), "errors")); err != nil {
		t.Fatal(err)
	}
	r.cmd.Stdout, r.cmd.Stderr = outW, r.errs
	r.cmd.ExtraFiles = []*os.File{binary, out, errR}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{out, outW, errR, binary} {
		_ = f.Close() // the child's
	}
	r.stderr = errW
	go func() {
		_ = r.cmd.Wait() // how it ended is looked at later
		close(r.ended)
	}()
	t.Cleanup(func() {
		defer r.errs.Close()
		_, _ = errW.Close(), r.in.Close()
		select {
		case <-r.ended:
		case <-time.After(testutil.Timeout(limit)):
			t.Errorf("the monitor does not end: %s", r.said())
			_ = r.cmd.Process.Kill()
			<-r.ended
		}
	})
	return r
}

// said is what the monitor complains of.
func (r *run) said() string {
	b, err := os.ReadFile(r.errs.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// exit waits for the end, closing what would hold the container's stderr open.
func (r *run) exit() wire.Exit {
	r.t.Helper()
	_ = r.stderr.(io.Closer).Close() //nolint:forcetypeassert // a file
	testutil.WaitClosed(r.t, limit, "the end of the monitor", r.ended)
	var exit wire.Exit
	if err := wire.ReadFile(r.dir, wire.ExitFile, &exit); err != nil {
		r.t.Fatalf("%v; it says %q", err, r.said())
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("the monitor ended with %d: %s", code, r.said())
	}
	return exit
}

func (r *run) lines() []logs.Line {
	r.t.Helper()
	var got []logs.Line
	err := logs.Read(r.t.Context(), r.log, logs.ReadOptions{Tail: logs.All}, func(l logs.Line) error {
		got = append(got, l)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *run) texts() []string {
	r.t.Helper()
	var got []string
	for _, l := range r.lines() {
		got = append(got, l.Text)
	}
	return got
}

func (r *run) saw(text string) {
	r.t.Helper()
	testutil.WaitFor(r.t, limit, fmt.Sprintf("%q in the log", text), func() error {
		if got := r.texts(); len(got) == 0 || got[len(got)-1] != text {
			return fmt.Errorf("the log has %q; the monitor says %q", got, r.said())
		}
		return nil
	})
}

// TestExit: how init ended, by itself and by a signal, and what is left behind.
func TestExit(t *testing.T) {
	for name, tt := range map[string]struct {
		init string
		want wire.Exit
	}{
		"well":           {"exit 0", wire.Exit{}},
		"with a code":    {"exit 7", wire.Exit{Code: 7}},
		"by a signal":    {"kill -USR1 $$", wire.Exit{Code: 128 + int(unix.SIGUSR1), Signal: "SIGUSR1"}},
		"with a child":   {"sleep 0 & exit 3", wire.Exit{Code: 3}},
		"of a real time": {"kill -40 $$", wire.Exit{Code: 168}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			before := time.Now()
			exit := begin(t, o, tt.init).exit()
			if exit.At.Before(before.Add(-time.Second)) || exit.At.After(time.Now()) {
				t.Errorf("it ended at %s", exit.At)
			}
			exit.At = time.Time{}
			if exit != tt.want {
				t.Errorf("exit %+v, want %+v", exit, tt.want)
			}
			for _, path := range []string{o.Cgroup, o.LibDir} {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left (%v)", path, err)
				}
			}
		})
	}
}

// TestOutOfMemory: the kernel has killed in the cgroup.
func TestOutOfMemory(t *testing.T) {
	for events, want := range map[string]bool{"low 0\noom 1\noom_kill 1\n": true, "low 0\noom 1\noom_kill 0\noom_group_kill 9\n": false} {
		o := options(t)
		if err := os.WriteFile(filepath.Join(o.Cgroup, "memory.events"), []byte(events), 0o600); err != nil {
			t.Fatal(err)
		}
		if exit := begin(t, o, "exit 1").exit(); exit.OOM != want {
			t.Errorf("%q: %+v", events, exit)
		}
	}
}

// TestCopy: lines of both streams however the writes are cut, the last one without a newline, long ones in parts.
func TestCopy(t *testing.T) {
	r := begin(t, options(t), "cat")
	long := strings.Repeat("x", logs.MaxLine)
	for _, s := range []string{"on", "e\ntw", "o\n\nthree\n", long + "rest\n", "last"} {
		if _, err := io.WriteString(r.in, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(r.stderr, "beside\n"); err != nil {
		t.Fatal(err)
	}
	_ = r.in.Close()
	r.exit()
	var stdout, stderr []logs.Line
	for _, l := range r.lines() {
		if since := time.Since(l.Time); since < 0 || since > limit {
			t.Errorf("a line is %s old", since)
		}
		l.Time = time.Time{}
		if l.Stream == logs.Stderr {
			stderr = append(stderr, l)
		} else {
			stdout = append(stdout, l)
		}
	}
	line := func(stream, text string) logs.Line { return logs.Line{Stream: stream, Replica: "shop-3", Text: text} }
	part := line(logs.Stdout, long)
	part.Partial = true
	want := []logs.Line{part, line(logs.Stdout, "rest"), line(logs.Stdout, "last")}
	for _, s := range []string{"three", "", "two", "one"} {
		want = append([]logs.Line{line(logs.Stdout, s)}, want...)
	}
	if d := cmp.Diff(want, stdout); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]logs.Line{line(logs.Stderr, "beside")}, stderr); d != "" {
		t.Error(d)
	}
}

// TestManyLines: more than fit into one write.
func TestManyLines(t *testing.T) {
	o := options(t)
	o.Container.LogMaxSize = 64 << 20
	r := begin(t, o, "seq 50000; yes '' | head -n 20000")
	r.exit()
	got := r.texts()
	if len(got) != 70000 {
		t.Fatalf("%d lines", len(got))
	}
	for i, text := range got {
		if want := strconv.Itoa(i + 1); i < 50000 && text != want || i >= 50000 && text != "" {
			t.Fatalf("line %d is %q", i, text)
		}
	}
}

// TestRotation: files stay below the size, the number of them stays, the newest lines are kept, also where another
// writer rotates the same log.
func TestRotation(t *testing.T) {
	o := options(t)
	o.Container.LogMaxSize = 20000
	r := begin(t, o, "cat")
	other, err := logs.OpenWriter(r.log, logs.Options{Replica: "shop-4", MaxSize: 20000, Files: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i := range 200 {
		text := fmt.Sprintf("line %d", i)
		if _, err := io.WriteString(r.in, strings.Repeat("some\n", 5)+text+"\n"); err != nil {
			t.Fatal(err)
		}
		r.saw(text)
		if err := other.Copy(logs.Stdout, strings.NewReader(strings.Repeat("other\n", 5))); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.in.Close()
	r.exit()
	files, err := filepath.Glob(filepath.Join(r.log, "output.log*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v %v, want 3", files, err)
	}
	for _, name := range files {
		if st, err := os.Stat(name); err != nil || st.Size() > 20000 {
			t.Errorf("%s has %v bytes (%v)", name, st.Size(), err)
		}
	}
	next := 199
	got := r.texts()
	for i := len(got) - 1; i >= 0; i-- {
		if strings.HasPrefix(got[i], "line") {
			if want := fmt.Sprintf("line %d", next); got[i] != want {
				t.Fatalf("line %q, want %q", got[i], want)
			}
			next--
		}
	}
	if next > 180 {
		t.Errorf("only those after %d are kept", next)
	}
}

// TestUnwritable: a log that cannot be written does not stop the site, and says so later.
func TestUnwritable(t *testing.T) {
	r := begin(t, options(t), "read x")
	say := func(s string) {
		if _, err := io.WriteString(r.stderr, s); err != nil {
			t.Fatal(err)
		}
	}
	say("before\n")
	r.saw("before")
	path := filepath.Join(r.log, "output.log")
	if err := errors.Join(os.Rename(path, path+".kept"), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	say("lost 1\nlost 2\n")
	testutil.WaitFor(t, limit, "the lines to be read", func() error {
		if n, err := unread(r.cmd.Process.Pid); n > 0 || err != nil {
			return errors.Join(err, fmt.Errorf("%d bytes are unread", n))
		}
		return nil
	})
	if err := os.Rename(path+".kept", path); err != nil {
		t.Fatal(err)
	}
	say("after\n")
	r.saw("after")
	want := []string{"before", "fcnode: 2 lines were lost: the log could not be written", "after"}
	if d := cmp.Diff(want, r.texts()); d != "" {
		t.Error(d)
	}
}

// unread is how much is in the monitor's pipe of stderr, and then whether it waits.
func unread(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/fd/5", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close() // read only
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if err != nil || n > 0 {
		return n, err
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || !strings.Contains(string(b), ") S ") {
		return 1, err
	}
	return 0, nil
}

// TestFlood: what is more than a replica may write is dropped and told; the replica is not stopped, the lines afterwards
// are kept, and the monitor takes next to no time for it.
func TestFlood(t *testing.T) {
	o := options(t)
	o.Container.LogLines, o.Container.LogBytes, o.Container.LogMaxSize = 100, 1<<20, 64<<20
	// 4 MB of nothing but newlines.
	r := begin(t, o, "head -c 4000000 /dev/zero | tr '\\0' '\\n'; read x; echo after; read x")
	begun, kept := time.Now(), 0
	testutil.WaitFor(t, limit, "all lines to be kept, or told", func() error {
		dropped := 0
		kept = 0
		for _, text := range r.texts() {
			n := 0
			if text == "" {
				kept++
			} else if _, err := fmt.Sscanf(text, "fcnode: %d lines were dropped: the replica writes more than 100 lines or 1 MiB a second (log.rate)", &n); err != nil {
				t.Fatalf("the log has %q", text)
			}
			dropped += n
		}
		if kept+dropped != 4000000 {
			return fmt.Errorf("%d lines are kept, %d told as dropped, of 4000000", kept, dropped)
		}
		return nil
	})
	if most := 1000 + 100*int(time.Since(begun)/time.Second+2); kept < 1000 || kept > most {
		t.Errorf("%d lines are kept, not 1000 to %d", kept, most)
	}
	if _, err := io.WriteString(r.in, "\n"); err != nil {
		t.Fatal(err)
	}
	r.saw("after")
	_ = r.in.Close()
	r.exit()
	if cpu := r.cmd.ProcessState.SystemTime() + r.cmd.ProcessState.UserTime(); cpu > testutil.Timeout(time.Second) {
		t.Errorf("the monitor, and the test binary before it, took %s", cpu)
	}
}

// TestTooManyBytes: the other limit.
func TestTooManyBytes(t *testing.T) {
	o := options(t)
	o.Container.LogBytes, o.Container.LogMaxSize = 2048, 64<<20
	r := begin(t, o, fmt.Sprintf("yes %s | head -n 100; read x", strings.Repeat("x", 1023)))
	testutil.WaitFor(t, limit, "a note in the log", func() error {
		texts := r.texts()
		if len(texts) == 0 || !strings.HasSuffix(texts[len(texts)-1], "lines were dropped: the replica writes more than 2 KiB a second (log.rate)") {
			return fmt.Errorf("%d lines", len(texts))
		}
		return nil
	})
	if kept := len(r.texts()) - 1; kept < 20 || kept > 60 {
		t.Errorf("%d lines of 1 KiB are kept", kept)
	}
	_ = r.in.Close()
	r.exit()
}

// TestAskedToEnd: it ends its container, by the container's signal.
func TestAskedToEnd(t *testing.T) {
	for name, ask := range map[string]func(r *run, o *Options){
		"later":         func(r *run, _ *Options) { _ = r.cmd.Process.Signal(unix.SIGTERM) },
		"before":        nil,
		"in the middle": nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Container.StopSignal = int(unix.SIGUSR2)
			o.Stop = name == "before"
			r := beginJob(t, job{
				Options: o, Asked: name == "in the middle", Init: []string{"/bin/sh", "-c", "trap 'exit 5' USR2; echo ready; while :; do read x || :; done"},
			})
			if ask != nil {
				r.saw("ready")
				for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} { // not for it
					_ = r.cmd.Process.Signal(sig)
				}
				ask(r, &o)
			}
			exit := r.exit()
			if want := 5; exit.Code != want && !(ask == nil && exit.Signal == "SIGUSR2") { // before the shell has trapped it
				t.Errorf("exit %+v", exit)
			}
		})
	}
}

// TestPages: the server of a restored container's memory ends well, or badly, or hangs.
func TestPages(t *testing.T) {
	for name, tt := range map[string]struct {
		server string
		failed bool
	}{
		"all came":   {"exit 0", false},
		"it failed":  {"exit 1", true},
		"it is hung": {"exec sleep 1000", true},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			dir := t.TempDir()
			marker, spent := filepath.Join(dir, "lazy"), filepath.Join(dir, "spent")
			if err := errors.Join(os.WriteFile(marker, nil, 0o600), os.MkdirAll(filepath.Join(spent, "images"), 0o700),
				os.WriteFile(filepath.Join(spent, "images", "pages"), []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
			o.Pages = Pages{Patience: 200 * time.Millisecond, Marker: marker, Spent: spent}
			r := beginJob(t, job{
				Options: o, Init: []string{"/bin/sh", "-c", "echo ready; read x"}, Server: []string{"/bin/sh", "-c", tt.server}, Checkpoint: spent,
			})
			testutil.WaitFor(t, limit, "the end of the checkpoint", func() error {
				if _, err := os.Stat(spent); !errors.Is(err, os.ErrNotExist) {
					return errors.Join(err, errors.New("it is there"))
				}
				return nil
			})
			if _, err := os.Stat(marker); errors.Is(err, os.ErrNotExist) == tt.failed {
				t.Errorf("the mark of missing memory: %v", err)
			}
			_ = r.in.Close() // there is no cgroup by which init was killed
			if exit := r.exit(); (exit.Failed != "") != tt.failed {
				t.Errorf("exit %+v", exit)
			}
		})
	}
}

// TestEndsWithInit: something holds the output open, and the server of memory is still at work.
func TestEndsWithInit(t *testing.T) {
	o := options(t)
	spent := filepath.Join(t.TempDir(), "spent")
	if err := os.Mkdir(spent, 0o700); err != nil {
		t.Fatal(err)
	}
	o.Pages = Pages{Patience: time.Hour, Marker: filepath.Join(spent, "none"), Spent: spent}
	r := beginJob(t, job{Options: o, Init: []string{"/bin/sh", "-c", "echo last; exit 9"}, Server: []string{"/bin/sleep", "1000"}, Checkpoint: spent})
	testutil.WaitClosed(t, limit, "the end of the monitor, though its stderr is open", r.ended)
	if exit := r.exit(); exit.Code != 9 || exit.Failed != "" {
		t.Errorf("exit %+v", exit)
	}
	if _, err := os.Stat(spent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the checkpoint is left (%v)", err)
	}
	if got := r.texts(); !cmp.Equal(got, []string{"last"}) {
		t.Errorf("the log has %q", got)
	}
}

// TestSmall: what an idle monitor takes, also after it had much to write.
func TestSmall(t *testing.T) {
	o := options(t)
	r := begin(t, o, "seq 100000; echo end; read x")
	r.saw("end")
	const most = 128 << 10
	testutil.WaitFor(t, limit, "the buffers to be given back", func() error {
		anon, tables, threads, err := footprint(r.cmd.Process.Pid)
		if err == nil && (anon+tables > most || threads != 1) {
			err = fmt.Errorf("%d bytes of memory and %d of page tables, %d threads", anon, tables, threads)
		}
		return err
	})
	_ = r.in.Close()
	r.exit()
}

func footprint(pid int) (anon, tables, threads int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		for name, to := range map[string]*int{"RssAnon": &anon, "VmPTE": &tables, "Threads": &threads} {
			if rest, ok := strings.CutPrefix(line, name+":"); ok && err == nil {
				_, err = fmt.Sscan(rest, to)
			}
		}
	}
	return anon << 10, tables << 10, threads, err
}

// TestFits: the number in C is that in Go.
func TestFits(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{path: true, "/bin/true": false} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := Fits(f); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
		_ = f.Close()
	}
}

// TestBadOptions: of another release, or of somebody at a terminal.
func TestBadOptions(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	good := []string{strconv.Itoa(wire.Version), "init=1", "replica=a", "log=/nowhere", "size=1", "files=1"}
	for name, args := range map[string][]string{
		"none": nil, "another version": {"99", "init=1"}, "unknown": append(good[:len(good):len(good)], "color=blue"),
		"no number": append(good[:len(good):len(good)], "bytes=1k"), "no init": good[2:], "without value": append(good[:len(good):len(good)], "stop"),
		"a rate beyond all": append(good[:len(good):len(good)], "bytes=1000000000000"),
	} {
		out, err := exec.Command(path, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.HasPrefix(string(out), "fcnode-monitor: ") {
			t.Errorf("%s: %v %q", name, err, out)
		}
	}
}
