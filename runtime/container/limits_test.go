package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// These tests change limits of containers that run, and look at what the
// kernel then does to them. They need controllers in cgroup v2.

const mib = 1 << 20

// needs skips without the features.
func needs(t *testing.T, features ...string) {
	t.Helper()
	testutil.Privileged(t)
	for _, f := range features {
		testutil.RequireFeature(t, f)
	}
}

// running starts the guest and waits until it says that it is ready. That it is
// the same process is checked when the test ends.
func (e *env) running(limits cgroup.Limits, args ...string) (*Container, Spec) {
	e.t.Helper()
	spec := e.spec(args...)
	spec.Limits = limits
	c := e.start(spec)
	e.saw(spec, "ready")
	return c, spec
}

// same checks that nothing was restarted.
func (e *env) same(c *Container) {
	e.t.Helper()
	now, err := wire.FindProcess(c.Pid())
	if err != nil || now != c.init {
		e.t.Errorf("the container's init is %+v (%v), and was %+v", now, err, c.init)
	}
}

func (e *env) apply(c *Container, change cgroup.Change) {
	e.t.Helper()
	if err := c.Group().Apply(change); err != nil {
		e.t.Fatal(err)
	}
}

func usage(t *testing.T, c *Container) cgroup.Usage {
	t.Helper()
	u, err := c.Group().Usage()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ask sends the signal at which the guest does what its role is.
func ask(t *testing.T, c *Container) {
	t.Helper()
	if err := unix.Kill(c.Pid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
}

// aSecond lets a second pass.
func aSecond(t *testing.T) {
	t.Helper()
	begin := time.Now()
	testutil.WaitFor(t, limit, "a second to pass", func() error {
		if time.Since(begin) < time.Second {
			return errors.New("not yet")
		}
		return nil
	})
}

// share is the part of one processor that the container gets, over a second at least; rather too little than too much: where the
// machine stands still, that counts.
func share(t *testing.T, c *Container) float64 {
	t.Helper()
	begin, before := time.Now(), usage(t, c).CPU.Time
	aSecond(t)
	used := usage(t, c).CPU.Time - before
	return used.Seconds() / time.Since(begin).Seconds()
}

func TestRootLimitCPU(t *testing.T) {
	needs(t, "cpu controller")
	e := newEnv(t)
	c, _ := e.running(cgroup.Limits{}, "spin", "1")
	before := usage(t, c).CPU
	e.apply(c, cgroup.Change{CPU: new(0.2)})
	var slow float64
	testutil.WaitFor(t, 3*limit, "most of what the limit allows", func() error {
		if slow = share(t, c); slow < 0.1 {
			return fmt.Errorf("a limit of 0.2 gives %.2f", slow)
		}
		return nil
	})
	after := usage(t, c).CPU
	if slow > 0.3 {
		t.Errorf("a limit of 0.2 gives %.2f", slow)
	}
	if before.Throttled != 0 || after.Throttled == 0 || !after.ThrottlingKnown { // the time of it was 0 once on an emulated 6.1
		t.Errorf("throttled %+v, then %+v", before, after)
	}
	e.apply(c, cgroup.Change{CPU: new(0.0)})
	testutil.WaitFor(t, 3*limit, "more than the limit allowed", func() error {
		again := share(t, c)
		t.Logf("share of a processor: %.2f at 0.2, %.2f after it", slow, again)
		if again < 1.5*slow {
			return fmt.Errorf("without the limit it gets %.2f, with it %.2f", again, slow)
		}
		return nil
	})
	e.same(c)
}

func TestRootLimitCPUWeight(t *testing.T) {
	needs(t, "cpu controller", "cpuset controller")
	e := newEnv(t)
	a, _ := e.running(cgroup.Limits{}, "spin", "1")
	b, _ := e.running(cgroup.Limits{}, "spin", "1")
	for _, c := range []*Container{a, b} { // not at their start, which would be slow on a processor that is busy
		e.apply(c, cgroup.Change{CPUSet: new("0")})
	}
	prefers := func(heavy, light *Container) {
		t.Helper()
		e.apply(light, cgroup.Change{CPUWeight: new(uint64(100))})
		e.apply(heavy, cgroup.Change{CPUWeight: new(uint64(800))})
		testutil.WaitFor(t, 3*limit, "weights of 8 to 1 to show", func() error {
			// What the heavy one gets is measured for rather shorter.
			ofLight, ofHeavy := usage(t, light).CPU.Time, usage(t, heavy).CPU.Time
			aSecond(t)
			ofHeavy = usage(t, heavy).CPU.Time - ofHeavy
			ofLight = usage(t, light).CPU.Time - ofLight
			t.Logf("CPU time at 800:100: %s and %s", ofHeavy, ofLight)
			if ofHeavy < 3*ofLight {
				return fmt.Errorf("they get %s and %s", ofHeavy, ofLight)
			}
			return nil
		})
	}
	prefers(a, b)
	prefers(b, a)
	e.same(a)
	e.same(b)
}

func TestRootLimitCPUSet(t *testing.T) {
	needs(t, "cpuset controller")
	e := newEnv(t)
	c, _ := e.running(cgroup.Limits{}, "spin", "1")
	inside := func() string {
		_, out := e.execOut(c, ExecSpec{Args: []string{"/bin/guest", "cat", "/proc/1/status"}}, "")
		return regexp.MustCompile(`Cpus_allowed_list:\s*(\S+)`).FindStringSubmatch(out)[1]
	}
	all := inside()
	e.apply(c, cgroup.Change{CPUSet: new("1")})
	if got := inside(); got != "1" {
		t.Errorf("processors %s, want 1", got)
	}
	e.apply(c, cgroup.Change{CPUSet: new("")})
	if got := inside(); got != all {
		t.Errorf("processors %s, want %s again", got, all)
	}
	e.same(c)
}

func TestRootLimitPids(t *testing.T) {
	needs(t, "pids controller")
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{}, "fork", "20")
	e.apply(c, cgroup.Change{Pids: new(int64(usage(t, c).Pids.Current + 8))})
	ask(t, c)
	// The Go runtime may have started a thread meanwhile, which counts too.
	testutil.WaitFor(t, limit, "the refusal of a fork", func() error {
		m := regexp.MustCompile(`forked (\d+) (\d+)`).FindStringSubmatch(e.output(spec))
		if m == nil {
			return errors.New("nothing yet")
		}
		if n, _ := strconv.Atoi(m[1]); n < 4 || n > 8 || m[2] != strconv.Itoa(int(unix.EAGAIN)) {
			t.Errorf("%s processes, errno %s; want 8 or a few less, EAGAIN", m[1], m[2])
		}
		return nil
	})
	if u := usage(t, c).Pids; u.Refused == 0 || !u.Known {
		t.Errorf("usage %+v: no refusal", u)
	}
	e.apply(c, cgroup.Change{Pids: new(int64(0))})
	ask(t, c)
	e.saw(spec, "forked 20 0")
	e.same(c)
}

// allowSwap lets a container's memory go to the swap, or keeps it from that.
func allowSwap(t *testing.T, g *cgroup.Group, allow bool) {
	t.Helper()
	value := map[bool]string{true: "max", false: "0"}[allow]
	err := os.WriteFile(filepath.Join(g.Path(), "memory.swap.max"), []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without swap
		t.Fatal(err)
	}
}

// swapOn gives the machine zram to swap to, for the time of the test, unless it has some.
func swapOn(t *testing.T) {
	t.Helper()
	has, err := cgroup.DetectSwap()
	if err != nil {
		t.Fatal(err)
	}
	if has.Free() >= 256*mib {
		return
	}
	testutil.RequireFeature(t, "zram")
	text, err := os.ReadFile("/sys/class/zram-control/hot_add") // reading adds
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(text))
	device, sys := "/dev/zram"+id, "/sys/block/zram"+id
	t.Cleanup(func() {
		if err := os.WriteFile("/sys/class/zram-control/hot_remove", []byte(id), 0); err != nil {
			t.Error(err)
		}
	})
	const size = 256 * mib
	if err := os.WriteFile(sys+"/disksize", []byte(strconv.Itoa(size)), 0); err != nil {
		t.Fatal(err)
	}
	// The header of a swap area, as mkswap writes it.
	page := make([]byte, os.Getpagesize())
	binary.NativeEndian.PutUint32(page[1024:], 1)                        // version
	binary.NativeEndian.PutUint32(page[1028:], uint32(size/len(page)-1)) // last page
	copy(page[len(page)-10:], "SWAPSPACE2")
	if err := os.WriteFile(device, page, 0); err != nil {
		t.Fatal(err)
	}
	if err := swap(unix.SYS_SWAPON, device); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := swap(unix.SYS_SWAPOFF, device); err != nil {
			t.Error(err)
		}
	})
}

// TestRootReclaimFrozen: what a frozen container held comes back as it was.
func TestRootReclaimFrozen(t *testing.T) {
	needs(t, "memory controller", "memory.reclaim")
	swapOn(t)
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{}, "hold", "64")
	ctx := testutil.Context(t, limit)
	if err := c.Group().Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	before := usage(t, c).Memory
	begin := time.Now()
	got, err := c.Group().Reclaim(ctx, before.Current)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	after := usage(t, c).Memory
	t.Logf("%d MiB in use, %d reclaimed in %v, %d left, %d in swap", before.Current/mib, got/mib, took, after.Current/mib, after.Swap/mib)
	if before.Current < 64*mib || after.Current > before.Current/4 || after.Swap < 40*mib || got < 40*mib {
		t.Errorf("before %+v, after %+v, said to be reclaimed: %d", before, after, got)
	}
	if err := c.Group().Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	ask(t, c)
	e.saw(spec, "intact")
	e.same(c)
}

// TestRootReclaimStops: at the end of its context, with what it has got until then.
func TestRootReclaimStops(t *testing.T) {
	needs(t, "memory controller", "memory.reclaim")
	swapOn(t)
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{}, "hold", "64")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	begin := time.Now()
	got, err := c.Group().Reclaim(ctx, 64*mib)
	t.Logf("%d KiB in %v: %v", got>>10, time.Since(begin), err)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) || err == nil && got < 40*mib {
		t.Errorf("%d bytes, %v", got, err)
	}
	cancel()
	if got, err := c.Group().Reclaim(ctx, 64*mib); got != 0 || !errors.Is(err, context.Cause(ctx)) {
		t.Errorf("without time: %d %v", got, err)
	}
	ask(t, c)
	e.saw(spec, "intact")
}

// TestRootLimitMemoryShrinks: memory.max is lowered as far as memory can be
// reclaimed, and never kills.
func TestRootLimitMemoryShrinks(t *testing.T) {
	needs(t, "memory controller", "memory.reclaim")
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{MemoryMax: 256 * mib}, "hold", "64")
	maximum := func() int {
		b, err := os.ReadFile(filepath.Join(c.Group().Path(), "memory.max"))
		n, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
		if err := errors.Join(err, convErr); err != nil {
			t.Fatal(err)
		}
		return n
	}
	allowSwap(t, c.Group(), false)
	var inUse *cgroup.InUseError
	err := c.Group().Apply(cgroup.Change{MemoryMax: new(uint64(32 * mib))})
	t.Log(err)
	if !errors.As(err, &inUse) || inUse.Set < 64*mib || maximum() > 256*mib/2 || maximum() > int(inUse.Set) {
		t.Errorf("64 MiB in use, max 32 MiB asked for: %v, it is %d", err, maximum())
	}
	swapOn(t)
	allowSwap(t, c.Group(), true)
	e.apply(c, cgroup.Change{MemoryMax: new(uint64(32 * mib))})
	if maximum() != 32*mib {
		t.Errorf("max is %d, want 32 MiB", maximum())
	}
	if u := usage(t, c).Memory; u.Current > 32*mib || u.OOMKill != 0 || u.Swap == 0 {
		t.Errorf("usage %+v", u)
	}
	ask(t, c)
	e.saw(spec, "intact")
	if u := usage(t, c).Memory; u.OOMKill != 0 || u.OOM != 0 {
		t.Errorf("usage %+v: it was killed in", u)
	}
	e.same(c)
}

// TestRootLimitMemoryHigh: above it the container is reclaimed, and that is told.
func TestRootLimitMemoryHigh(t *testing.T) {
	needs(t, "memory controller", "PSI triggers")
	swapOn(t)
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{}, "grow", "48")
	e.apply(c, cgroup.Change{MemoryHigh: new(uint64(24 * mib))})
	w := watcher(t)
	events := make(chan cgroup.MemoryEvents, 100)
	if _, err := w.MemoryEvents(c.Group(), func(m cgroup.MemoryEvents) {
		select {
		case events <- m:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	ask(t, c)
	if m := testutil.Receive(t, limit, "a change of memory.events", events); m.High == 0 {
		t.Errorf("events %+v", m)
	}
	e.saw(spec, "grown 1")
	if u := usage(t, c).Memory; u.High == 0 || u.Current > 40*mib || u.OOMKill != 0 {
		t.Errorf("usage %+v", u)
	}
	e.apply(c, cgroup.Change{MemoryHigh: new(uint64(0))})
	e.same(c)
}

// TestRootLimitMemoryMax: a limit that was set on a running container kills in
// it, and that is told as the container's end.
func TestRootLimitMemoryMax(t *testing.T) {
	needs(t, "memory controller")
	e := newEnv(t)
	c, spec := e.running(cgroup.Limits{}, "grow", "48")
	allowSwap(t, c.Group(), false)
	e.apply(c, cgroup.Change{MemoryMax: new(uint64(80 * mib))})
	ask(t, c)
	e.saw(spec, "grown 1")
	e.same(c)
	ask(t, c)
	if exit := e.ended(c); !exit.OOMKilled || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v, want OOMKilled", exit)
	}
}

// TestRootOOMEndsTheWhole: where one process of several meets memory.max the container ends, not the one process alone.
func TestRootOOMEndsTheWhole(t *testing.T) {
	needs(t, "memory controller")
	e := newEnv(t)
	spec := e.spec("parent", "/bin/guest", "hold", "160")
	spec.Limits = cgroup.Limits{MemoryMax: 80 * mib, MemorySwap: cgroup.NoSwap}
	c := e.start(spec)
	if exit := e.ended(c); !exit.OOMKilled || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v, want OOMKilled", exit)
	}
	if strings.Contains(e.output(spec), "went on") {
		t.Error("half of the container went on without its worker")
	}
}

// TestRootLimitSwap: with swap on the machine, memory.max kills only who may not go there; and what lies there already comes back,
// whatever the limit of swap is by then.
func TestRootLimitSwap(t *testing.T) {
	needs(t, "memory controller", "memory.reclaim")
	swapOn(t)
	e := newEnv(t)
	limits := cgroup.Limits{MemoryMax: 80 * mib, MemorySwap: cgroup.NoSwap}
	without, spec := e.running(limits, "grow", "48")
	ask(t, without)
	e.saw(spec, "grown 1")
	ask(t, without)
	if exit := e.ended(without); !exit.OOMKilled {
		t.Errorf("96 MiB in 80, without swap: %+v, want OOMKilled", exit)
	}
	limits.MemorySwap = 0
	with, spec := e.running(limits, "grow", "48")
	ask(t, with)
	e.saw(spec, "grown 1")
	ask(t, with)
	e.saw(spec, "grown 2")
	if u := usage(t, with).Memory; u.OOMKill != 0 || u.Swap == 0 {
		t.Errorf("with swap: %+v", u)
	}

	held, spec := e.running(cgroup.Limits{}, "hold", "64")
	ctx := testutil.Context(t, limit)
	if _, err := held.Group().Reclaim(ctx, 48*mib); err != nil {
		t.Fatal(err)
	}
	e.apply(held, cgroup.Change{MemorySwap: new(int64(cgroup.NoSwap))})
	before := usage(t, held).Memory
	if _, err := held.Group().Reclaim(ctx, 48*mib); err != nil {
		t.Fatal(err)
	}
	after := usage(t, held).Memory
	t.Logf("%d MiB in swap, %d when no more may go there", before.Swap/mib, after.Swap/mib)
	if before.Swap < 16*mib || after.Swap > before.Swap || after.OOMKill != 0 {
		t.Errorf("swap was not bounded: %+v, then %+v", before, after)
	}
	ask(t, held)
	e.saw(spec, "intact")
	e.same(held)
}

// onDisk returns a new folder that is on a disk. Temporary files often are in memory, as Debian 13's; those of /var/tmp, which
// outlive a boot, are not.
func onDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, err := cgroup.FindDisk(dir)
	if err == nil {
		return dir
	}
	dir, errMake := os.MkdirTemp("/var/tmp", "fcnode-test-")
	if errMake != nil {
		t.Fatal(errMake)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if _, errDisk := cgroup.FindDisk(dir); errDisk != nil {
		t.Skipf("%s no folder of temporary files is on a disk: %v", testutil.SkipMarker, errors.Join(err, errDisk))
	}
	return dir
}

// TestRootLimitIO: writing past the page cache is as slow as io.max says.
func TestRootLimitIO(t *testing.T) {
	needs(t, "io controller")
	e := newEnv(t)
	volume := onDisk(t)
	spec := e.spec("disk", "/data/file", "2048")
	spec.Mounts = []Mount{{Source: volume, Target: "/data"}}
	c := e.start(spec)
	e.saw(spec, "ready")
	round := 0
	write := func() time.Duration {
		round++
		ask(t, c)
		var took int
		testutil.WaitFor(t, limit, "2 MiB on disk", func() error {
			_, rest, ok := strings.Cut(e.output(spec), fmt.Sprintf("wrote %d ", round))
			if !ok {
				return errors.New(e.output(spec))
			}
			_, err := fmt.Sscan(rest, &took)
			return err
		})
		return time.Duration(took) * time.Millisecond
	}
	e.apply(c, cgroup.Change{IO: []cgroup.IOLimit{{Device: volume, WriteBytes: mib}}})
	slow := write()
	if slow < 1500*time.Millisecond {
		t.Errorf("at 1 MiB/s 2 MiB took %v", slow)
	}
	e.apply(c, cgroup.Change{IO: []cgroup.IOLimit{{Device: volume}}})
	testutil.WaitFor(t, 3*limit, "to write faster without the limit", func() error { // once: the machine may be slow for other reasons
		if free := write(); free > slow/2 {
			return fmt.Errorf("2 MiB took %v at 1 MiB/s, and %v without a limit", slow, free)
		}
		return nil
	})
	if u, written := usage(t, c).IO, uint64(2*round*mib); !u.Known || u.WriteBytes < written || u.Writes == 0 {
		t.Errorf("usage %+v, %d bytes were written", u, written)
	}
	e.same(c)
}

func watcher(t *testing.T) *cgroup.Watcher {
	t.Helper()
	w, err := cgroup.NewWatcher(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestRootPressure: the kernel tells that a container waits for the processor.
func TestRootPressure(t *testing.T) {
	needs(t, "PSI triggers", "cpu controller")
	e := newEnv(t)
	c, _ := e.running(cgroup.Limits{}, "spin", "1")
	e.apply(c, cgroup.Change{CPU: new(0.1)})
	p, err := c.Group().Pressure(cgroup.CPU, 200*time.Millisecond, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v within %v", p.Stall, p.Window)
	fired := make(chan struct{}, 100)
	if _, err := watcher(t).Pressure(p, func() {
		select {
		case fired <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	testutil.Receive(t, limit, "pressure", fired)
	if u := usage(t, c); !u.CPUPressure.Known || u.CPUPressure.Some == 0 {
		t.Errorf("usage %+v: no pressure", u)
	}
	e.same(c)
}
