package container

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// hasty makes restores end after a short time.
func (e *env) hasty() {
	e.m.opts.RestoreTimeout = testutil.Timeout(2 * time.Second)
}

// ahead is the CRIU that waits for the next restore.
func (e *env) ahead() (pid int) {
	e.t.Helper()
	testutil.WaitFor(e.t, limit, "a CRIU that waits", func() error {
		comms, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, name := range comms {
			line, _ := os.ReadFile(name) // may have ended
			group, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cgroup"))
			if strings.Contains(string(line), "\x00swrk\x00") && strings.Contains(string(group), filepath.Base(e.m.Parent().Path())+"/") {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(name)))
				return err
			}
		}
		return errors.New("none is there")
	})
	return pid
}

// TestRootHangingRestoreEnds: a restore that does not come to its end, for whatever reason, is ended in its time, and
// nothing is left of it or of the image.
func TestRootHangingRestoreEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		heap    string
		disturb func(e *env, spec Spec)
		before  bool // the restore is called
	}{
		"CRIU stopped": {heap: "0", before: true, disturb: func(e *env, _ Spec) { e.signal(e.ahead(), unix.SIGSTOP) }},
		"CRIU killed":  {heap: "0", before: true, disturb: func(e *env, _ Spec) { e.signal(e.ahead(), unix.SIGKILL) }},
		"monitor stopped": {heap: "0", before: true, disturb: func(e *env, _ Spec) {
			parent, _ := parentOf(e.ahead())
			e.signal(parent, unix.SIGSTOP)
		}},
		"server of memory stopped": {heap: "64", disturb: func(e *env, spec Spec) { e.signal(e.server(spec), unix.SIGSTOP) }},
		"server of memory killed":  {heap: "64", disturb: func(e *env, spec Spec) { e.signal(e.server(spec), unix.SIGKILL) }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			tool := needCRIU(t, e.m)
			if !tool.Lazy && !tt.before {
				t.Skipf("%s userfaultfd, which CRIU restores memory on demand with", testutil.SkipMarker)
			}
			spec := e.counterSpec(replicaNS(t), tt.heap)
			c := e.start(spec)
			e.saw(spec, "listening")
			e.park(c, e.checkpointDir(), options())
			e.hasty()
			next := e.counterSpec(replicaNS(t))
			if tt.before {
				tt.disturb(e, next)
			}
			type outcome struct {
				c   *Container
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				c, _, err := e.m.Restore(testutil.Context(t, 10*limit), next, e.checkpointDir())
				done <- outcome{c, err}
			}()
			if !tt.before {
				tt.disturb(e, next)
			}
			o := testutil.Receive(t, limit, "the end of the restore", done)
			if o.err == nil {
				// The server of memory was quicker than the test. It then ends with the container, or has done its work.
				t.Log("it was restored before it could be disturbed")
				e.remove(o.c)
			} else {
				t.Log(o.err)
			}
			for _, path := range []string{next.Upper, next.Work, e.m.dir(next.ID)} {
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
			e.noImages()
			e.gone(0)
			// The next one is not harmed by what has happened.
			last := e.counterSpec(replicaNS(t))
			e.start(last)
			e.saw(last, "listening")
		})
	}
}

// server is the process that serves memory to a container that is being restored, when it is
// ready to.
func (e *env) server(spec Spec) (pid int) {
	e.t.Helper()
	dir := e.m.dir(spec.ID)
	testutil.WaitFor(e.t, limit, "the server of memory", func() error {
		if _, err := os.Lstat(filepath.Join(dir, "lazy-pages.socket")); err != nil {
			return err
		}
		var state wire.State
		if err := wire.ReadFile(dir, wire.StateFile, &state); err != nil {
			return err
		}
		if pid = childNamed(state.Shim.Pid, "lazy-pages"); pid == 0 {
			return errors.New("it does not run")
		}
		return nil
	})
	return pid
}

func (e *env) signal(pid int, sig unix.Signal) {
	e.t.Helper()
	if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		e.t.Error(err)
	}
}

// TestRootSeveralProcessesRestoredUnderLoad: a tree of several processes comes back with all of its memory, time and
// again, while visitors ask it. Its memory is not served on demand, however much it is.
func TestRootSeveralProcessesRestoredUnderLoad(t *testing.T) {
	const members, rounds, visitors = 5, 5, 12
	e := newEnv(t)
	needCRIU(t, e.m)
	next := func() (Spec, *testutil.NS) {
		ns := replicaNS(t)
		spec := e.counterSpec(ns)
		spec.Args = []string{"/bin/guest", "family", vip + ":80", strconv.Itoa(members), "12"}
		return spec, ns
	}
	spec, ns := next()
	c := e.start(spec)
	testutil.WaitFor(t, limit, "all of its processes", func() error {
		if n := strings.Count(e.output(spec), "listening"); n != members {
			return fmt.Errorf("%d listen: %s", n, e.output(spec))
		}
		return nil
	})
	want := get(t, ns, "/heap")
	for round := range rounds {
		m := e.park(c, e.checkpointDir(), options())
		if m.Processes != members+1 || m.Memory < criu.LazyFrom || m.Lazy() {
			t.Fatalf("the image is of %d processes with %d bytes, on demand: %v", m.Processes, m.Memory, m.Lazy())
		}
		spec, ns = next()
		c = e.restore(spec, e.checkpointDir())
		if childNamed(c.state.Shim.Pid, "lazy-pages") != 0 {
			t.Error("its memory is served on demand")
		}
		var all errgroup.Group
		ns.Do(t, func() {
			for range visitors {
				conn, err := net.Dial("tcp", vip+":80")
				if err != nil {
					t.Fatal(err)
				}
				all.Go(func() error { return asked(conn, want) })
			}
		})
		if err := all.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// asked asks for the heap on a connection, which it closes.
func asked(conn net.Conn, want string) error {
	defer conn.Close() // read to its end
	if err := conn.SetDeadline(time.Now().Add(testutil.Timeout(limit))); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET /heap HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	b, err := io.ReadAll(conn)
	if err == nil && !strings.HasSuffix(string(b), "\r\n\r\n"+want) {
		err = fmt.Errorf("it says %q instead of %s", b, want)
	}
	return err
}

// TestRootServerOfMemoryEnds: whatever a process does while its memory is missing, what serves that comes to its end, and
// the process gets what is its own.
func TestRootServerOfMemoryEnds(t *testing.T) {
	e := newEnv(t)
	if !needCRIU(t, e.m).Lazy {
		t.Skipf("%s userfaultfd, which CRIU restores memory on demand with", testutil.SkipMarker)
	}
	ns := replicaNS(t)
	spec := e.counterSpec(ns, "96")
	c := e.start(spec)
	e.saw(spec, "listening")
	sum, err := strconv.Atoi(get(t, ns, "/heap"))
	if err != nil {
		t.Fatal(err)
	}
	opts := options()
	opts.Clonable = true
	e.park(c, e.checkpointDir(), opts)
	for name, do := range map[string]func(t *testing.T, ns *testutil.NS, r *Container){
		"forks": func(t *testing.T, ns *testutil.NS, _ *Container) {
			for range 3 {
				if got, want := get(t, ns, "/fork"), strconv.Itoa(sum%64); got != want {
					t.Errorf("the forked process has the sum %s instead of %s", got, want)
				}
			}
		},
		"ends threads": func(t *testing.T, ns *testutil.NS, _ *Container) {
			for range 5 {
				get(t, ns, "/thread")
			}
		},
		"executes": func(t *testing.T, ns *testutil.NS, _ *Container) {
			ns.Do(t, func() { _, _ = getHere("/exec") }) // the connection ends with the process' memory
			testutil.WaitFor(t, limit, "the new program", func() (err error) {
				var body string
				ns.Do(t, func() { body, err = getHere("/count") })
				if err == nil && body != "1" {
					err = fmt.Errorf("it counts %s", body)
				}
				return err
			})
		},
		"ends": func(t *testing.T, _ *testutil.NS, r *Container) { e.remove(r) },
		"is frozen": func(t *testing.T, _ *testutil.NS, r *Container) {
			if err := r.Group().Freeze(testutil.Context(t, limit)); err != nil {
				t.Error(err)
			}
		},
		"asks for all": func(t *testing.T, ns *testutil.NS, _ *Container) {
			if got := get(t, ns, "/heap"); got != strconv.Itoa(sum) {
				t.Errorf("the sum is %s instead of %d", got, sum)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := replicaNS(t)
			r := e.restore(e.counterSpec(ns), e.checkpointDir())
			server := childNamed(r.state.Shim.Pid, "lazy-pages")
			t.Logf("its memory is served by %d", server)
			do(t, ns, r)
			testutil.WaitFor(t, limit, "the end of the server of memory", func() error {
				if server != 0 && unix.Kill(server, 0) == nil {
					return fmt.Errorf("process %d is there", server)
				}
				return nil
			})
			if _, err := os.Lstat(r.lazyFile()); err == nil {
				t.Error("memory is said to be missing")
			}
		})
	}
}

// TestRootImageIsCutShort: an image whose memory is gone after it was verified costs the visitor no more than a
// cold start: the restore fails, or what it made is ended, and in no case does anybody wait for what never comes.
func TestRootImageIsCutShort(t *testing.T) {
	for _, heap := range []string{"8", "96"} { // read at once, and on demand
		t.Run(heap+" MiB", func(t *testing.T) {
			e := newEnv(t)
			needCRIU(t, e.m)
			spec := e.counterSpec(replicaNS(t), heap)
			c := e.start(spec)
			e.saw(spec, "listening")
			e.park(c, e.checkpointDir(), options())
			e.hasty()
			pages, err := filepath.Glob(filepath.Join(e.checkpointDir(), criu.ImagesDir, "pages-*"))
			if err != nil || len(pages) == 0 {
				t.Fatal(pages, err)
			}
			var open []*os.File
			for _, name := range pages {
				f, err := os.OpenFile(name, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				open = append(open, f)
			}
			next := e.counterSpec(replicaNS(t))
			go func() { // as soon as the monitor has it
				for {
					if _, err := os.Lstat(filepath.Join(e.m.dir(next.ID), wire.LazyFile)); err == nil {
						break
					}
					if _, err := os.Lstat(e.checkpointDir()); err != nil && heap == "8" {
						break
					}
				}
				for _, f := range open {
					_ = f.Truncate(4096)
				}
			}()
			r, _, err := e.m.Restore(testutil.Context(t, limit), next, e.checkpointDir())
			if err == nil {
				exit := e.ended(r)
				t.Logf("it ended with %+v", exit)
				e.remove(r)
			} else {
				t.Log(err)
			}
			e.noImages()
			e.gone(0)
		})
	}
}
