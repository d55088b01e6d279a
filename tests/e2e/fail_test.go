package e2e

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// failures are ways in which a site does not come up.
var failures = []struct {
	name string
	spec []string // lines of the spec
	why  string   // what the error says
}{
	{"ends at once", []string{"env: {GUEST: exit}"}, "exit code 3"},
	{"never listens", []string{"env: {GUEST: deaf}", "start: {timeout: 500ms}"}, "nobody listened"},
	{"command does not exist", []string{"command: [/no/such/program]"}, "/no/such/program"},
	{"volume is missing", []string{"volumes: [{source: /no/such/volume, target: /data}]"}, "/no/such/volume"},
}

// TestRootSiteThatDoesNotComeUp: its visitors are refused, people can see why and when it is tried again, visitors do
// not start it meanwhile, and when it is mended it is there at once.
func TestRootSiteThatDoesNotComeUp(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for i, f := range failures {
		s := n.deploy("broken", f.spec...)
		c := []*client{n.outside, n.local}[i%2]
		mark := n.mark()
		if conn, err := c.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %s client: %v %v, want it refused", f.name, c.name, conn, err)
		}
		if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, f.why) {
			t.Errorf("%s: the event says %q, not %q", f.name, ev.Reason, f.why)
		}
		v := s.get()
		if v.Error == nil || !strings.Contains(v.Error.Message, f.why) || v.Error.Retry.IsZero() {
			t.Errorf("%s: the last error is %+v; want %q and the time of the next try", f.name, v.Error, f.why)
		}
		checkFailedTrace(t, s)
		n.deploy("broken")
		n.outside.greet(s.addr4(80))
		s.awaitPhase(api.PhaseRunning) // a visitor can be answered a little before the daemon knows
		if v := s.get(); v.Error != nil {
			t.Errorf("%s: mended, the site's last error is %+v", f.name, v.Error)
		}
		if err := n.api.Delete(n.ctx(), "broken"); err != nil {
			t.Fatal(err)
		}
	}
}

// checkFailedTrace reads the story of a wake that came to nothing.
func checkFailedTrace(t *testing.T, s *site) {
	t.Helper()
	traces, err := s.n.api.Traces(s.n.ctx(), s.name, 1)
	if err != nil || len(traces) != 1 {
		t.Fatalf("traces: %v, %v", traces, err)
	}
	if tr := traces[0]; tr.Result != api.ResultFailed || tr.Error == "" || !tr.Client.IsValid() || len(tr.Steps) < 2 {
		t.Errorf("the trace of a failed wake: %+v", tr)
	}
}

// awaitPhase waits until the site is in a phase: some changes of phase are no events.
func (s *site) awaitPhase(want api.Phase) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site to be "+string(want), func() error {
		if v := s.get(); v.Phase != want {
			return errors.New("it is " + string(v.Phase))
		}
		return nil
	})
}

// TestRootBackoffHoldsVisitorsOff: a site that crashes is not started by each of its visitors.
func TestRootBackoffHoldsVisitorsOff(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("crashing", "env: {GUEST: exit}")
	mark := n.mark()
	if _, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	first := pauseAfter(t, s.await(mark, "failed"))
	retry := s.get().Error.Retry
	for i := range 40 {
		to := []netip.AddrPort{s.addr4(80), s.addr6(80)}[i%2]
		before, starts := repeatedSYNs(n), s.starts(mark)
		_, err := n.outside.connect(to)
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want it refused", to, err)
		}
		again, more := repeatedSYNs(n)-before, s.starts(mark)-starts
		if !time.Now().Before(retry) {
			break // on a slow machine the next try comes before all have been turned away
		}
		if again > 0 || more > 0 {
			t.Errorf("%s was not refused at once during the backoff: %d SYNs sent again, %d starts: %q", to, again, more, s.story(mark))
		}
	}
	// The time between two tries grows.
	s.awaitPhase(api.PhaseParked)
	mark = n.mark()
	if _, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	if second := pauseAfter(t, s.await(mark, "failed")); second <= first {
		t.Errorf("after one failure the next try was after %v, after another it is after %v: %q", first, second, s.story(0))
	}
}

// pauseAfter is how long a site that has failed is not tried again.
func pauseAfter(t *testing.T, failed api.Event) time.Duration {
	t.Helper()
	_, text, _ := strings.Cut(failed.Text, "next try not before ")
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%q does not say when it is tried again: %v", failed.Text, err)
	}
	return d
}

// TestRootImageThatComesBack: what was missing and is there again needs nobody to say so.
func TestRootImageThatComesBack(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("moved")
	if err := os.Rename(n.path("image"), n.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without its image: %v, want it refused", err)
	}
	if err := os.Rename(n.path("elsewhere"), n.path("image")); err != nil {
		t.Fatal(err)
	}
	s.awaitPhase(api.PhaseParked)
	n.outside.greet(s.addr4(80))
}

// TestRootFullDisk: no start without room, no harm to what runs, and a start when there is room again.
func TestRootFullDisk(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	state := mountTmpfs(t, "size=4m,nr_inodes=2000")
	n := newNode(t, options{stateDir: filepath.Join(state, "state"), more: "disk: {reserve: 0B}"}) // with one a start has room
	running, s := n.deploy("running"), n.deploy("other")
	n.outside.greet(running.addr4(80))
	fill := filepath.Join(state, "fill")
	fillUp(t, fill)
	mark := n.mark()
	if conn, err := n.outside.connect(s.addr4(80)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("on a full disk: %v %v, want it refused", conn, err)
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, "no space left") {
		t.Errorf("failed because %q", ev.Reason)
	}
	n.outside.greet(running.addr4(80))
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, patience, "the site, with room on the disk again", func() error {
		_, err := n.outside.get(s.addr4(80), "/")
		return err
	})
}

// mountTmpfs gives a small file system to a node.
func mountTmpfs(t *testing.T, opts string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // who had files open there is gone a moment before they are closed
		testutil.WaitFor(t, patience, "the disk to be let go", func() error { return unix.Unmount(dir, 0) })
	})
	return dir
}

// fillUp fills a file system with a file.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}
