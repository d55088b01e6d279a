package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkRootColdStart measures the time from the call of Start to the return
// of listen(2) in a static Go server, and the same for `runc run` of the same
// root file system, network namespace, capabilities and mounts:
//
//	FCNODE_ROOT_TESTS=1 go test -run '^$' -bench RootColdStart -benchtime 30x ./runtime/container
//
// The server prints CLOCK_MONOTONIC when it listens. The median is reported, as
// means are of no use on a machine that does other things.
func BenchmarkRootColdStart(b *testing.B) {
	b.Run("fcnode", func(b *testing.B) { benchFcnode(b, newEnv(b), nil) })
	b.Run("fcnode+userns", func(b *testing.B) {
		e := newEnv(b).private()
		w := e.waitIn(func() (*os.File, error) { return e.ns.File(b), nil })
		benchFcnode(b, e, w)
	})
	b.Run("runc", func(b *testing.B) { benchRunc(b, nil) })
	native := func(s *specs.LinuxSeccomp) { s.Architectures = nil }
	b.Run("runc+seccomp-native", func(b *testing.B) { benchRunc(b, native) })
	b.Run("runc+seccomp-default", func(b *testing.B) { benchRunc(b, func(*specs.LinuxSeccomp) {}) })
}

// benchFcnode measures starts from the pool of waiting runners or, with places, in
// network namespaces where they wait.
func benchFcnode(b *testing.B, e *env, places *netnses) {
	b.Helper()
	runners := e.m.pool
	if places != nil {
		e.m.ExpectUserns()
		runners = e.m.places.runners
	}
	var times []time.Duration
	steps := map[string][]time.Duration{}
	var order []string
	for b.Loop() {
		b.StopTimer()
		spec := e.spec("serve", "127.0.0.1:8080")
		e.poolFull(runners)
		var place *Place
		b.StartTimer()
		if places != nil {
			place = e.m.TakePlace(false)
			spec.Netns = place.FD()
		}
		c, timing, err := e.m.Start(testutil.Context(b, limit), spec)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		e.saw(spec, "listening")
		times = append(times, time.Duration(listening(b, e.output(spec))-timing.Started))
		for _, s := range timing.Steps {
			if steps[s.Name] == nil {
				order = append(order, s.Name)
			}
			steps[s.Name] = append(steps[s.Name], s.After)
		}
		e.remove(c)
		if place != nil {
			_ = place.Close() // of the bench's own
		}
		b.StartTimer()
	}
	for _, name := range order {
		b.Logf("%-16s %7.2f ms", name, ms(median(steps[name])))
	}
	reportTimes(b, times)
}

// poolFull waits until a runner and its init wait for a request: both are there
// and neither has used the CPU since the last look.
func (e *env) poolFull(pool *pool) {
	e.t.Helper()
	last := ""
	testutil.WaitFor(e.t, limit, "a waiting runner", func() error {
		pool.mu.Lock()
		defer pool.mu.Unlock()
		if len(pool.slots) == 0 {
			return errors.New("the pool is empty")
		}
		pids, err := pool.slots[0].group.Procs()
		if err == nil && len(pids) != 2 {
			err = errors.New("not two processes")
		}
		if err != nil {
			return fmt.Errorf("the runner and its init are not there: %v, %w", pids, err)
		}
		before := last
		if last = cpuTimes(pids); last != before {
			return errors.New("they are still at work")
		}
		return nil
	})
}

// cpuTimes is the CPU time of all threads of the processes, as text.
func cpuTimes(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well-formed
		for _, name := range files {
			text, _ := os.ReadFile(name) // a thread that has ended changes the text too
			b.Write(text)
		}
	}
	return b.String()
}

func benchRunc(b *testing.B, filter func(*specs.LinuxSeccomp)) {
	b.Helper()
	e := newEnv(b)
	if _, err := exec.LookPath("runc"); err != nil {
		b.Skip("runc is not installed")
	}
	bundle := b.TempDir()
	e.writeBundle(bundle, filter)
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		cmd := exec.CommandContext(ctx, "runc", "--root", e.runDir, "run", "-b", bundle, "bench")
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		started := wire.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			b.Fatalf("runc: %v", err)
		}
		times = append(times, time.Duration(listening(b, line)-started))
		b.StopTimer()
		kill := exec.CommandContext(ctx, "runc", "--root", e.runDir, "kill", "bench", "KILL")
		if text, err := kill.CombinedOutput(); err != nil {
			b.Fatalf("runc kill: %v: %s", err, text)
		}
		_ = cmd.Wait() // killed
		cancel()
		b.StartTimer()
	}
	reportTimes(b, times)
}

// writeBundle writes what `runc spec` writes, for the guest as a server in the
// test's network namespace.
func (e *env) writeBundle(bundle string, filter func(*specs.LinuxSeccomp)) {
	e.t.Helper()
	cmd := exec.Command("runc", "spec", "-b", bundle)
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("runc spec: %v: %s", err, out)
	}
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		e.t.Fatal(err)
	}
	spec.Process.Terminal = false
	spec.Process.Args = []string{"/bin/guest", "serve", "127.0.0.1:8080"}
	spec.Root = &specs.Root{Path: e.lower}
	spec.Linux.CgroupsPath = "/" + testutil.Unique(e.t)
	for i := range spec.Linux.Namespaces {
		if spec.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.ns.FD())
		}
	}
	caps := defaultPrivileges().Capabilities
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	if filter != nil {
		if spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(&spec); err != nil {
			e.t.Fatal(err)
		}
		filter(spec.Linux.Seccomp)
	}
	if text, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func listening(t testing.TB, out string) int64 {
	t.Helper()
	at, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(out, "listening ")), 10, 64)
	if err != nil {
		t.Fatalf("output %q: %v", out, err)
	}
	return at
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func reportTimes(b *testing.B, times []time.Duration) {
	b.Helper()
	b.ReportMetric(ms(median(times)), "ms-to-listen/p50")
	b.ReportMetric(ms(slices.Min(times)), "ms-to-listen/min")
	b.ReportMetric(0, "ns/op")
}
