package decode

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/testutil"
)

// What a process of these tests is started for.
const (
	envRole   = "FCNODE_DECODE_TEST"
	roleTry   = "try"   // what a confined process can do
	roleEat   = "eat"   // memory
	roleStart = "start" // a process that reads a layer, and then nothing
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case roleTry:
		os.Exit(try())
	case roleEat:
		os.Exit(eat())
	case roleStart:
		startAndHang()
	}
	testutil.Main(m)
}

// inRole starts this program again.
func inRole(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRole+"="+role, "GOMAXPROCS=1")
	return cmd
}

// oneFile is a tar with one file.
func oneFile(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// running starts a process and gives it the beginning of a tar, of which it has written a
// part: it is confined, and waits for more.
func running(t *testing.T) (*Reader, int) {
	t.Helper()
	from, to := io.Pipe()
	r, err := Start(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	go func() { _, _ = to.Write(oneFile(t, make([]byte, 2*bufferSize))[:bufferSize+4096]) }()
	if _, err := io.ReadFull(r, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	return r, r.cmd.Process.Pid
}

// TestRootConfined: the process that reads what strangers have made has no rights.
func TestRootConfined(t *testing.T) {
	testutil.Privileged(t)
	_, pid := running(t)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	for key, want := range map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got, known := status[key]; got != want || !known {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for _, ns := range []string{"net", "pid", "ipc", "uts"} {
		if its, ours := link(t, strconv.Itoa(pid), ns), link(t, "self", ns); its == ours {
			t.Errorf("its %s namespace is ours, %s", ns, ours)
		}
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		at, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(at, "pipe:") && at != os.DevNull && !strings.HasPrefix(at, "anon_inode:[event") {
			t.Errorf("it has %s open", at)
		}
	}
	if adj, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err != nil || string(adj) != "1000\n" {
		t.Errorf("its oom_score_adj is %q, %v", adj, err)
	}
	for task, err := range threads(pid) {
		if err != nil || !strings.Contains(task, "Seccomp:\t2") {
			t.Errorf("a thread of it has no filter: %v", err)
		}
	}
}

func link(t *testing.T, pid, ns string) string {
	t.Helper()
	to, err := os.Readlink("/proc/" + pid + "/ns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// threads gives the status of each thread.
func threads(pid int) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		dir := fmt.Sprintf("/proc/%d/task/", pid)
		tasks, err := os.ReadDir(dir)
		if err != nil {
			yield("", err)
		}
		for _, task := range tasks {
			status, err := os.ReadFile(dir + task.Name() + "/status")
			if !yield(string(status), err) {
				return
			}
		}
	}
}

// try does what a program that has taken over the process would, on several threads,
// and says what went through.
func try() int {
	if err := confine(); err != nil {
		fmt.Println("confine:", err)
		return 1
	}
	runtime.GOMAXPROCS(2)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		for _, a := range []struct {
			what string
			call func() error
		}{
			{"open a file", func() error { _, err := unix.Open("/", unix.O_RDONLY, 0); return err }},
			{"make a socket", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err }},
			{"execute", func() error { return unix.Exec("/bin/true", []string{"true"}, nil) }},
			{"fork", func() error { return errnoOf(syscall.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)) }},
			{"fork by clone3", func() error { return errnoOf(syscall.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)) }},
			{"signal", func() error { return unix.Kill(1, 0) }},
			{"trace", func() error { return errnoOf(syscall.RawSyscall(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0)) }},
			{"unshare", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
			{"use io_uring", func() error { return errnoOf(syscall.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)) }},
			{"use BPF", func() error { return errnoOf(syscall.RawSyscall(unix.SYS_BPF, 0, 0, 0)) }},
			{"raise a limit", func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 10, Max: 10}) }},
			{"map memory to execute", func() error {
				_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
				return err
			}},
		} {
			if err := a.call(); !errors.Is(err, unix.ENOSYS) {
				fmt.Printf("%s: %v\n", a.what, err)
			}
		}
	}()
	<-done
	return 0
}

func errnoOf(_, _ uintptr, errno syscall.Errno) error { return errno }

func TestConfinedCanDoNothing(t *testing.T) {
	out, err := inRole(t, roleTry).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("a confined process could: %s (%v)", out, err)
	}
}

// eat takes memory until there is none.
func eat() int {
	if err := confine(); err != nil {
		fmt.Println("confine:", err)
		return 1
	}
	var all [][]byte
	for range 4 * memory >> 20 {
		all = append(all, bytes.Repeat([]byte{1}, 1<<20))
	}
	fmt.Println("it has", len(all), "MiB")
	return 0
}

// TestMemoryIsBounded: who makes the process take memory ends the process.
func TestMemoryIsBounded(t *testing.T) {
	out, err := inRole(t, roleEat).CombinedOutput()
	said := string(out)
	if err == nil || !strings.Contains(said, "out of memory") && !strings.Contains(said, "failed to allocate") { // as the race detector says it
		t.Errorf("%v: %s", err, out)
	}
}

// startAndHang is a daemon that is about to be killed.
func startAndHang() {
	from, to := io.Pipe()
	r, err := Start(context.Background(), from)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "a", Size: 1 << 30}) // into memory
	b.Write(make([]byte, bufferSize))
	_, _ = to.Write(b.Bytes())
	_, _ = io.ReadFull(r, make([]byte, 512)) // the test sees what comes of it
	fmt.Println(r.cmd.Process.Pid)
	select {}
}

// TestKilledDaemon: with the daemon the process ends, by whatever it waits for.
func TestKilledDaemon(t *testing.T) {
	daemon := inRole(t, roleStart)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = daemon.Process.Kill(), daemon.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, notPID := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || notPID != nil {
		t.Fatalf("it said %q, %v", line, err)
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	testutil.WaitExit(t, 10*time.Second, pid)
}

// TestKilled: a process that is killed is no fault of the image's, and no tar that has ended.
func TestKilled(t *testing.T) {
	r, pid := running(t)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err == nil || errors.Is(err, ErrContent) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v", err)
	}
}

// TestReads: what comes out is the tar, to the last byte, and what is wrong is told.
func TestReads(t *testing.T) {
	plain := append(oneFile(t, bytes.Repeat([]byte("content "), 200_000)), make([]byte, 3000)...)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(plain) // into memory
	_ = w.Close()
	broken := errors.New("the disk is broken")
	for name, c := range map[string]struct {
		from  io.Reader
		want  []byte
		fails error  // nil: not at all
		says  string // in its error
	}{
		"plain":                 {from: bytes.NewReader(plain), want: plain},
		"gzip":                  {from: bytes.NewReader(zipped.Bytes()), want: plain},
		"nothing":               {from: strings.NewReader("")},
		"half a gzip":           {from: bytes.NewReader(zipped.Bytes()[:zipped.Len()/2]), fails: ErrContent, says: "unexpected EOF"},
		"bytes after a gzip":    {from: io.MultiReader(bytes.NewReader(zipped.Bytes()), strings.NewReader("\x1b[2J, and much more")), fails: ErrContent, says: "invalid header"},
		"no tar":                {from: strings.NewReader(strings.Repeat("x", 10_000)), fails: ErrContent, says: "invalid tar header"},
		"a source that breaks":  {from: io.MultiReader(bytes.NewReader(plain[:1000]), fails{broken}), fails: broken, says: "read it: "},
		"a source that is none": {from: fails{broken}, fails: broken, says: "read it: "},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Start(t.Context(), io.NopCloser(c.from))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if c.fails == nil && (err != nil || !bytes.Equal(got, c.want)) {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, len(c.want))
			}
			if c.fails != nil && (!errors.Is(err, c.fails) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %v with %q", err, c.fails, c.says)
			}
		})
	}
}

type fails struct{ err error }

func (f fails) Read([]byte) (int, error) { return 0, f.err }

// FuzzPass: nothing is changed, and no header is passed on that could not be read.
func FuzzPass(f *testing.F) {
	valid := oneFile(f, bytes.Repeat([]byte("x"), 3000))
	f.Add(valid)
	f.Add(append(slices.Clone(valid[:4096]), bytes.Repeat([]byte("garbage!"), 200)...))
	f.Add(valid[:700])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1 && raw[0] == 0x1f || len(raw) > 3 && raw[0] == 0x28 { // compressed
			t.Skip()
		}
		var out bytes.Buffer
		err := pass(bytes.NewReader(raw), &out)
		if err == nil && !bytes.Equal(out.Bytes(), raw) || !bytes.HasPrefix(raw, out.Bytes()) {
			t.Fatalf("%d bytes became %d, %v", len(raw), out.Len(), err)
		}
		r := tar.NewReader(&out)
		for {
			if _, err := r.Next(); errors.Is(err, tar.ErrHeader) {
				t.Fatalf("a header was passed on that cannot be read: %v", err)
			} else if err != nil {
				return
			}
		}
	})
}
