package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// The guest's answers for these tests:
//
//	GET /spin          uses a processor until the visitor goes
//	GET /grow?bytes=N  holds so much memory, instead of what it held before
//	GET /held          how much it holds, all of it read again
//	GET /write?path=P&bytes=N  writes so much to a disk, past the page cache
func scaleGuest(mux *http.ServeMux) {
	mux.HandleFunc("GET /spin", func(_ http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
		}
	})
	mux.HandleFunc("GET /write", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("bytes"))
		if err == nil {
			err = writeDirect(r.FormValue("path"), n)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, n)
	})
	var mu sync.Mutex
	var held []byte
	mux.HandleFunc("GET /held", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for i := 0; i < len(held); i += os.Getpagesize() {
			sum += int(held[i]) * os.Getpagesize()
		}
		fmt.Fprintln(w, sum)
	})
	mux.HandleFunc("GET /grow", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n, err := strconv.Atoi(r.FormValue("bytes"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		held = nil
		debug.FreeOSMemory() // at once, and not at some later collection
		held = make([]byte, n)
		for i := 0; i < n; i += os.Getpagesize() {
			held[i] = 1
		}
		fmt.Fprintln(w, len(held))
	})
}

// writeDirect writes a file anew, in pieces of 128 KiB.
func writeDirect(path string, bytes int) error {
	const piece = 128 << 10
	buf, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // as aligned as it has to be
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_DIRECT, 0o644)
	if err != nil {
		return errors.Join(err, unix.Munmap(buf))
	}
	for done := 0; done < bytes && err == nil; done += piece {
		_, err = f.Write(buf)
	}
	return errors.Join(err, f.Close(), unix.Munmap(buf))
}

// limit reads a file of a replica's cgroup.
func (n *node) limit(r api.Replica, file string) string {
	n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", r.PID))
	if err != nil {
		n.t.Fatal(err)
	}
	_, group, _ := strings.Cut(string(text), "0::")
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", strings.TrimSpace(group), file))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// cpuMax is so many processors in the words of cpu.max.
func cpuMax(cores float64) string { return fmt.Sprintf("%.0f 100000", cores*100000) }

// awaitCPU waits until the kernel has what the daemon says of a replica's processors: either may be read in the middle of a change.
func (s *site) awaitCPU(r api.Replica) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the daemon to say what the kernel has", func() error {
		now, have := s.get().Limits.CPU.Now, s.n.limit(r, "cpu.max")
		if cpuMax(now) != have {
			return fmt.Errorf("the daemon says %v cores, the kernel has %q", now, have)
		}
		return nil
	})
}

// spin has a site use so many processors until the visitors go.
func (s *site) spin(visitors int) (stop func()) {
	s.n.t.Helper()
	var all []kept
	for range visitors {
		v := s.n.outside.keep(s.addr4(80))
		if _, err := io.WriteString(v.conn, "GET /spin HTTP/1.1\r\nHost: site\r\n\r\n"); err != nil {
			s.n.t.Fatal(err)
		}
		all = append(all, v)
	}
	return func() {
		for _, v := range all {
			v.conn.Close()
		}
	}
}

// throttledUntilTold has a site need more than it has of processors until it is given more because the kernel told of that.
// The daemon also looks by itself, each second: what it sees first nobody has to tell it any more, and this
// begins again when the need is over.
func (s *site) throttledUntilTold() api.Event {
	t := s.n.t
	t.Helper()
	const most = 5
	for range most {
		mark := s.n.mark()
		stop := s.spin(3)
		up, told := s.scaledUpAsTold(mark)
		stop()
		if told {
			return up
		}
		s.n.awaitSlow(s.n.mark(), s.name, "scaled-down")
	}
	t.Fatalf("in %d rounds the kernel has not told once that the site waits for a processor", most)
	return api.Event{}
}

// scaledUpAsTold waits until the site is given more because the kernel told, or has all that it may have.
func (s *site) scaledUpAsTold(after uint64) (up api.Event, told bool) {
	t := s.n.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(patience))
	defer cancel()
	for ev, err := range s.n.api.Events(ctx, api.EventOptions{Since: after, Site: s.name, Follow: true}) {
		if err != nil {
			t.Fatalf("waiting for more than %v cores: %v; there was %q", s.get().Limits.CPU.Now, err, s.story(after))
		}
		if ev.Kind != "scaled-up" {
			continue
		}
		if ev.Fields["trigger"] != nil || ev.Fields["to"] == s.get().Limits.CPU.Max {
			return ev, ev.Fields["trigger"] != nil
		}
	}
	return up, false
}

// TestRootScaleCPUInPlace: what a start was given is taken back when it is not needed, and given again when the kernel tells
// that the site waits for it: by one write each, to the same process.
func TestRootScaleCPUInPlace(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "cpu controller")
	testutil.RequireFeature(t, "PSI triggers")
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "limits: {cpu: {min: 0.25, max: 2}}")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	replica := s.ready(1)[0]
	down := n.awaitSlow(mark, s.name, "scaled-down")
	if down.Fields["resource"] != "cpu" || down.Fields["from"] != 2.0 {
		t.Errorf("scaled down: %+v", down)
	}
	// A busy machine may have the site's own threads wait, and it is given more at times: so until it has little.
	testutil.WaitFor(t, 3*patience, "an idle site's share in the kernel", func() error {
		low := s.get().Limits.CPU.Now
		if low >= 1.5 {
			return fmt.Errorf("it has %v cores: %q", low, s.story(mark))
		}
		if got, want := n.limit(replica, "cpu.max"), cpuMax(low); got != want {
			return fmt.Errorf("cpu.max is %q, want %q", got, want)
		}
		return nil
	})

	up := s.throttledUntilTold()
	if up.Fields["resource"] != "cpu" || up.Fields["delayNs"] == nil || up.Fields["evidence"] == nil {
		t.Errorf("scaled up: %+v", up)
	}
	from, _ := up.Fields["from"].(float64)
	if to, ok := up.Fields["to"].(float64); !ok || to <= from {
		t.Errorf("scaled up: %+v", up)
	}
	s.awaitCPU(replica)
	t.Logf("from the kernel's event to the write: %v ns, for %v", up.Fields["delayNs"], up.Fields["trigger"])
	if now := s.ready(1)[0]; now.PID != replica.PID || now.ID != replica.ID {
		t.Errorf("the process is another: %+v, was %+v", now, replica)
	}
	if v := s.get().Limits.CPU; v.Min != 0.25 || v.Max != 2 {
		t.Errorf("the range of the limit: %+v", v)
	}
}

// TestRootScaleMemoryInPlace: memory.high follows what the site needs, up at once and down by reclaiming; nothing is killed.
func TestRootScaleMemoryInPlace(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "memory controller")
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "limits: {memory: {min: 32MiB, max: 256MiB}, pids: {min: 64, max: 512}}")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	replica := s.ready(1)[0]
	memory := func() api.MemoryLimit { return *s.get().Limits.Memory }
	testutil.WaitFor(t, 4*patience, "a lower memory limit", func() error {
		if m := memory(); m.Now > 128*mib {
			return fmt.Errorf("memory.high is %d MiB: %q", m.Now/mib, s.story(mark))
		}
		return nil
	})
	testutil.WaitFor(t, patience, "the kernel to have what the daemon says", func() error {
		now, have := memory().Now, n.limit(replica, "memory.high")
		if strconv.FormatInt(now, 10) != have {
			return fmt.Errorf("the daemon says %d bytes, the kernel has %q", now, have)
		}
		return nil
	})
	if got := n.limit(replica, "memory.max"); got != strconv.Itoa(256*mib) {
		t.Errorf("memory.max is %s", got)
	}
	mark = n.mark()
	if a := n.outside.mustGet(s.addr4(80), fmt.Sprintf("/grow?bytes=%d", 160*mib)); strings.TrimSpace(a.body) != strconv.Itoa(160*mib) {
		t.Errorf("growing: %q", a.body)
	}
	up := s.await(mark, "scaled-up")
	if up.Fields["resource"] != "memory" || up.Fields["evidence"] == nil {
		t.Errorf("scaled up: %+v", up)
	}
	testutil.WaitFor(t, patience, "a higher memory limit", func() error {
		if m := memory(); m.Now < 160*mib {
			return fmt.Errorf("memory.high is %d MiB with 160 MiB in use: %q", m.Now/mib, s.story(mark))
		}
		return nil
	})
	if now := s.ready(1)[0]; now.PID != replica.PID {
		t.Errorf("the process is another: %+v, was %+v", now, replica)
	}
	if events := n.limit(replica, "memory.events"); !strings.Contains(events, "oom_kill 0") {
		t.Errorf("something was killed: %s", events)
	}
}

// TestRootScaleLimitsSurviveKill: the next daemon finds the limits that the last one has set, and goes on from there.
func TestRootScaleLimitsSurviveKill(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "cpu controller")
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "limits: {cpu: {min: 0.25, max: 2}}")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	replica := s.ready(1)[0]
	n.awaitSlow(mark, s.name, "scaled-down")
	mark = n.mark()
	n.kill()
	before := n.limit(replica, "cpu.max")
	n.start()
	s.ready(1)
	s.awaitCPU(replica)
	// A busy machine may have it raise the limit at once; then from where it was, not from where a start begins.
	testutil.WaitFor(t, patience, "the limit of before", func() error {
		have := n.limit(replica, "cpu.max")
		goesOn := slices.ContainsFunc(s.events(mark), func(ev api.Event) bool {
			from, ok := ev.Fields["from"].(float64)
			return ok && (ev.Kind == "scaled-up" || ev.Kind == "scaled-down") && cpuMax(from) == before
		})
		if have != before && !goesOn {
			return fmt.Errorf("the limit was %q; the next daemon has made it %q: %q", before, have, s.story(mark))
		}
		return nil
	})
}

// TestRootScaleBudget: sites that want more than the node has get their shares of it.
func TestRootScaleBudget(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "cpu controller")
	t.Parallel()
	n := newNode(t, options{more: "budget: {cpu: 1}\n"})
	var sites []*site
	for _, name := range []string{"blog", "shop"} {
		s := n.deploy(name, "limits: {cpu: {min: 0.2, max: 2}}")
		n.outside.greet(s.addr4(80))
		s.ready(1)
		sites = append(sites, s)
	}
	testutil.WaitFor(t, 3*patience, "limits within the budget", func() error {
		var sum float64
		for _, s := range sites {
			sum += s.get().Limits.CPU.Now
		}
		if sum > 1.01 {
			return fmt.Errorf("the sites have %.2f cores of 1", sum)
		}
		return nil
	})
}

// TestRootWakeBurst: a site that was given less before it slept has all that its limits allow when a visitor wakes it, with nothing to be
// written first.
func TestRootWakeBurst(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "cpu controller")
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("shop", "limits: {cpu: {min: 0.25, max: 2}}", "idle: 12s", "tiers: [frozen]")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	replica := s.ready(1)[0]
	n.awaitSlow(mark, s.name, "scaled-down")
	n.awaitSlow(mark, s.name, "frozen")
	testutil.WaitFor(t, patience, "the limits of a start", func() error {
		if have := n.limit(replica, "cpu.max"); have != "200000 100000" {
			return fmt.Errorf("asleep it has %q", have)
		}
		return nil
	})
	mark = n.mark()
	n.outside.greet(s.addr4(80))
	woken := s.await(mark, "woken")
	if now := s.get().Replicas[0]; now.PID != replica.PID {
		t.Errorf("the process is another: %+v, was %+v", now, replica)
	}
	if down := n.awaitSlow(mark, s.name, "scaled-down"); down.Fields["from"] != 2.0 {
		t.Errorf("awake it had %v cores: %+v", down.Fields["from"], down)
	} else if after := down.Time.Sub(woken.Time); after < 3*time.Second {
		t.Errorf("what it was given was taken back after %s", after)
	}
}
