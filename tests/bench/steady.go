package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// What a round is. Rounds are short, so that what else the machine does falls
// on all ways alike.
const (
	steadyConns  = 16
	steadyBytes  = 128 // of the answer's body
	steadyRounds = 15
	steadyWarm   = 100 * time.Millisecond
	steadyTime   = 900 * time.Millisecond
	proxyPort    = "8080"
)

// The ways of each application, in the order of the table.
const (
	wayFcnode = iota
	wayDirect
	wayProxy
	wayWire
	ways
)

var wayNames = [ways]string{"fcnode", "direct", "proxy", "wire"}

// application is one web server, reachable by all ways.
type application struct {
	name, what string
	target     [ways]netip.AddrPort
	pids       [ways][]int // whose CPU time a request costs, besides the client's
}

// steadyResult is one way's rounds.
type steadyResult struct {
	rate     []float64
	cpu      series // a request's
	p50, p99 series
}

func benchSteady(ctx context.Context, o options, r *report) error {
	r.printf("## Steady load\n\nAnswers of %d bytes, asked for by %d connections from a client in another network namespace, each "+
		"sending its next request when it has the answer (a closed loop): %d rounds of %s, the ways in turns.\n\n"+
		"- `fcnode`: the application in its container, through its VIP.\n"+
		"- `direct`: the same program in a container of `runc`, with the same seccomp filter, behind a plain routed veth: no netfilter, no fcnode on its way.\n"+
		"- `proxy`: Go's `httputil.ReverseProxy` on the node, in front of `direct`.\n"+
		"- `wire`: the container of `direct` on a cable from the client's namespace straight into its own: there is no node in between. It bounds what "+
		"any way through a node can reach here, where the client and both ends' TCP share the cores with the path.\n\n"+
		"Ratios are medians of the rounds' ratios. CPU is that of the client, the network in between, the proxy and the application together for one "+
		"request: as what else the machine does hardly changes it, it is the steadier figure.\n\n",
		steadyBytes, steadyConns, steadyRounds, steadyTime+steadyWarm)
	for _, app := range []application{
		{name: demoSite, what: "The demo site (Go's net/http)"},
		{name: "lean", what: "A lean server (one thread, one epoll loop, as nginx works)"},
	} {
		if err := steadyApplication(ctx, o, r, app); err != nil {
			return fmt.Errorf("%s: %w", app.name, err)
		}
	}
	return nil
}

func steadyApplication(ctx context.Context, o options, r *report, app application) (err error) {
	s, err := open(ctx, o, "steady-"+app.name, "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	stop, err := app.serve(ctx, s, o)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	r.printf("### %s\n\n", app.what)
	for _, reuse := range []bool{true, false} {
		results, err := app.rounds(ctx, s, reuse)
		if err != nil {
			return err
		}
		reportSteady(r, results, reuse)
	}
	return nil
}

// program finds the application among the built ones, or builds it: the bench's
// own are not installed.
func (app *application) program(ctx context.Context, s *stage.Stage, o options) (string, error) {
	path := filepath.Join(o.bin, app.name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	path = s.File(app.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/fcnode/fcnode/tests/bench/"+app.name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s (run the bench in the project's folder): %w\n%s", app.name, err, out)
	}
	return path, nil
}

// serve starts the application on all ways.
func (app *application) serve(ctx context.Context, s *stage.Stage, o options) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for i := len(stops) - 1; i >= 0; i-- {
			errs = append(errs, stops[i]())
		}
		return errors.Join(errs...)
	}
	program, err := app.program(ctx, s, o)
	if err != nil {
		return stop, err
	}
	vip, err := deploy(ctx, s, program)
	if err != nil {
		return stop, err
	}
	p, err := newPlain(s.Client)
	if err != nil {
		return stop, err
	}
	stops = append(stops, p.close)
	container, err := newRunc(s, program, p, sameFilter)
	if err != nil {
		return stop, err
	}
	end, err := container.run(ctx)
	if err != nil {
		return stop, err
	}
	stops = append(stops, end)
	pid, err := container.pid(ctx)
	if err != nil {
		return stop, err
	}
	direct := net.JoinHostPort(directAddr, "80")
	front := net.JoinHostPort(cableNode, proxyPort)
	proxy, end, err := startProxy(ctx, front, direct)
	if err != nil {
		return stop, err
	}
	stops = append(stops, end)
	c, err := newClient(s.Client.FD())
	if err != nil {
		return stop, err
	}
	defer c.close()
	for i, addr := range [ways]string{vip.String(), direct, front, net.JoinHostPort(wireFar, "80")} {
		if app.target[i], err = netip.ParseAddrPort(addr); err != nil {
			return stop, err
		}
		if _, err := c.visit(app.target[i]); err != nil { // the first one wakes
			return stop, fmt.Errorf("%s: %w", wayNames[i], err)
		}
	}
	site, err := s.API.Get(ctx, "hello")
	if err != nil {
		return stop, err
	}
	if len(site.Replicas) != 1 {
		return stop, fmt.Errorf("the site has %d replicas, not one", len(site.Replicas))
	}
	app.pids = [ways][]int{{site.Replicas[0].PID}, {pid}, {pid, proxy}, {pid}}
	return stop, nil
}

// rounds loads the ways in turns; each round begins with another.
func (app *application) rounds(ctx context.Context, s *stage.Stage, reuse bool) ([ways]steadyResult, error) {
	var results [ways]steadyResult
	for round := range steadyRounds {
		for i := range ways {
			n := (round + i) % ways
			l := load{
				netns: s.Client.FD(), target: app.target[n], conns: steadyConns, reuse: reuse,
				request: requestFor("bench", steadyBytes, reuse), warm: steadyWarm, measure: steadyTime,
			}
			got, cpu, err := loadAndCPU(ctx, l, app.pids[n])
			if err != nil {
				return results, fmt.Errorf("load %s: %w", wayNames[n], err)
			}
			to := &results[n]
			to.rate = append(to.rate, got.rate())
			to.cpu = append(to.cpu, cpu)
			to.p50 = append(to.p50, got.latency.quantile(0.5))
			to.p99 = append(to.p99, got.latency.quantile(0.99))
		}
	}
	return results, nil
}

// loadAndCPU says also how much CPU time each request took, of the processes
// and of this one, which is the client. The kernel's work for a packet is done
// by whoever sends it, so it is in there.
func loadAndCPU(ctx context.Context, l load, pids []int) (loadResult, time.Duration, error) {
	pids = append([]int{os.Getpid()}, pids...)
	before, err := cpuTime(pids)
	if err != nil {
		return loadResult{}, 0, err
	}
	got, err := l.run(ctx)
	if err != nil {
		return got, 0, err
	}
	after, err := cpuTime(pids)
	if err != nil {
		return got, 0, err
	}
	if got.all == 0 {
		return got, 0, fmt.Errorf("%w: none within %s", errLoad, l.warm+l.measure)
	}
	return got, (after - before) / time.Duration(got.all), nil
}

// cpuTime reads the processes' CPU clocks.
func cpuTime(pids []int) (sum time.Duration, err error) {
	const schedClock = 2 // CPUCLOCK_SCHED of include/linux/posix-timers.h: nanoseconds on a CPU, all threads
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
			return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

func reportSteady(r *report, results [ways]steadyResult, reuse bool) {
	what := "Keep-alive"
	if !reuse {
		what = "A new connection for each request"
	}
	base := results[wayDirect]
	r.printf("%s:\n\n| way | requests/s | p50 | p99 | CPU a request | requests/s against direct | CPU against direct |\n|---|---|---|---|---|---|---|\n", what)
	for i, w := range results {
		r.printf("| %s | %.0f | %s | %s | %s | %.2f | %.2f |\n", wayNames[i], medianOf(w.rate), show(w.p50.median()), show(w.p99.median()),
			show(w.cpu.median()), medianOf(ratios(w.rate, base.rate)), medianOf(ratios(w.cpu.floats(), base.cpu.floats())))
	}
	r.printf("\n")
	gain := medianOf(ratios(results[wayFcnode].rate, base.rate))
	r.goal("at least 1.2 x the requests/s of direct", gain >= 1.2, fmt.Sprintf("%.2f x", gain))
	best := medianOf(ratios(results[wayWire].rate, base.rate))
	r.printf("- No way at all (`wire`) has %.2f x the requests/s of direct.\n", best)
	bare := results[wayWire].cpu
	r.printf("- What the node between the two ends adds to a request in CPU (medians of the rounds' differences to `wire`): direct %s, fcnode %s, proxy %s.\n",
		added(base.cpu, bare), added(results[wayFcnode].cpu, bare), added(results[wayProxy].cpu, bare))
	r.printf("- Against the proxy: %.2f x the requests/s.\n\n", medianOf(ratios(results[wayFcnode].rate, results[wayProxy].rate)))
}

// added is the median of the differences, which noise may turn below zero.
func added(a, b series) string {
	diff := make([]float64, len(a))
	for i := range a {
		diff[i] = float64(a[i]-b[i]) / float64(time.Microsecond)
	}
	return fmt.Sprintf("%+.1f µs", medianOf(diff))
}
