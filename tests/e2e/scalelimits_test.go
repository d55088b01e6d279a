//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
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
//	GET /spin?for=2s   uses a processor for so long
//	GET /grow?bytes=N  holds so much memory, instead of what it held before
//	GET /held          how much it holds, all of it read again
//	GET /write?path=P&bytes=N  writes so much to a disk, past the page cache
func scaleGuest(mux *http.ServeMux) {
	mux.HandleFunc("GET /spin", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		rounds := 0
		for end := time.Now().Add(d); time.Now().Before(end); rounds++ {
		}
		fmt.Fprintln(w, rounds)
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
	low := s.get().Limits.CPU.Now
	if low >= 1.5 {
		t.Errorf("an idle site has %v cores: %q", low, s.story(mark))
	}
	if got, want := n.limit(replica, "cpu.max"), fmt.Sprintf("%.0f 100000", low*100000); got != want {
		t.Errorf("cpu.max is %q, want %q", got, want)
	}

	mark = n.mark()
	spinning := later(func() error {
		_, err := n.outside.get(s.addr4(80), "/spin?for="+testutil.Timeout(5*time.Second).String())
		return err
	})
	up := s.await(mark, "scaled-up")
	if up.Fields["resource"] != "cpu" || up.Fields["delayNs"] == nil || up.Fields["evidence"] == nil {
		t.Errorf("scaled up: %+v", up)
	}
	t.Logf("from the kernel's event to the write: %v ns, for %v", up.Fields["delayNs"], up.Fields["trigger"])
	testutil.WaitFor(t, patience, "a higher limit", func() error {
		if v := s.get().Limits.CPU.Now; v <= low {
			return fmt.Errorf("the site has %v cores", v)
		}
		return nil
	})
	if err := <-spinning; err != nil {
		t.Error(err)
	}
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
	if got, want := n.limit(replica, "memory.high"), strconv.FormatInt(memory().Now, 10); got != want {
		t.Errorf("memory.high is %s, want %s", got, want)
	}
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
	n.kill()
	before := n.limit(replica, "cpu.max")
	n.start()
	s.ready(1)
	// A slow machine may have it raise the limit at once; then from where it was, not from where a start begins.
	testutil.WaitFor(t, patience, "the daemon to say what the kernel has", func() error {
		now, have := s.get().Limits.CPU.Now, n.limit(replica, "cpu.max")
		if fmt.Sprintf("%.0f 100000", now*100000) != have {
			return fmt.Errorf("the new daemon says %v cores, the kernel has %q, and had %q", now, have, before)
		}
		return nil
	})
	if have := n.limit(replica, "cpu.max"); have == "200000 100000" || strings.HasPrefix(have, "max") {
		t.Errorf("the limit was %q, and is what a start begins with: %q", before, have)
	}
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
