package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// What a round is.
const (
	steadyConns  = 16
	steadyBytes  = 128 // of the answer's body
	steadyRounds = 9
	steadyWarm   = 300 * time.Millisecond
	steadyTime   = 2 * time.Second
	proxyPort    = "8080"
)

// way is one of the ways to the same program.
type way struct {
	name   string
	target netip.AddrPort
}

// steadyResult is one way's rounds.
type steadyResult struct {
	rate     []float64
	p50, p99 series // one value for each round
}

func benchSteady(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "steady", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ways, stop, err := steadyWays(ctx, s, o)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	r.printf("## Steady load\n\nThe demo site's `/bytes?n=%d`, asked for by %d connections from a client in another network namespace, each "+
		"sending its next request when it has the answer (a closed loop): %d rounds of %s, the ways in turns. `direct` is the same program in a "+
		"network namespace behind a plain routed veth, without container or fcnode; `proxy` is Go's `httputil.ReverseProxy` on the node in front "+
		"of `direct`. Ratios are medians of the rounds' ratios.\n\n", steadyBytes, steadyConns, steadyRounds, steadyTime)
	for _, reuse := range []bool{true, false} {
		results, err := steadyRoundsOf(ctx, s, ways, reuse)
		if err != nil {
			return err
		}
		reportSteady(r, ways, results, reuse)
	}
	return nil
}

// steadyWays sets up fcnode's site, the plain host and the proxy; the first is
// fcnode's, the second what it is compared with.
func steadyWays(ctx context.Context, s *stage.Stage, o options) (ways []way, stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for i := len(stops) - 1; i >= 0; i-- {
			errs = append(errs, stops[i]())
		}
		return errors.Join(errs...)
	}
	vip, err := deploy(ctx, s, o, "hello", time.Hour)
	if err != nil {
		return nil, stop, err
	}
	p, err := newPlain()
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, p.close)
	end, err := p.serve(ctx, o)
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, end)
	direct := net.JoinHostPort(directAddr, "80")
	proxy := net.JoinHostPort(stage.NodeAddr, proxyPort)
	end, err = startProxy(ctx, proxy, direct)
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, end)
	for _, w := range [][2]string{{"fcnode", vip}, {"direct", direct}, {"proxy", proxy}} {
		target, err := netip.ParseAddrPort(w[1])
		if err != nil {
			return nil, stop, err
		}
		ways = append(ways, way{w[0], target})
		if _, err := visitOnce(ctx, s.Client.Dial, w[1]); err != nil { // the first one wakes
			return nil, stop, fmt.Errorf("%s: %w", w[0], err)
		}
	}
	return ways, stop, nil
}

// steadyRoundsOf loads the ways in turns; each round begins with another, as
// what was loaded last has the warm caches.
func steadyRoundsOf(ctx context.Context, s *stage.Stage, ways []way, reuse bool) ([]steadyResult, error) {
	results := make([]steadyResult, len(ways))
	for round := range steadyRounds {
		for i := range ways {
			n := (round + i) % len(ways)
			got, err := load{
				netns: s.Client.FD(), target: ways[n].target, conns: steadyConns, reuse: reuse,
				request: requestFor("bench", steadyBytes, reuse), warm: steadyWarm, measure: steadyTime,
			}.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("load %s: %w", ways[n].name, err)
			}
			results[n].rate = append(results[n].rate, got.rate())
			results[n].p50 = append(results[n].p50, got.latency.quantile(0.5))
			results[n].p99 = append(results[n].p99, got.latency.quantile(0.99))
		}
	}
	return results, nil
}

func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

func reportSteady(r *report, ways []way, results []steadyResult, reuse bool) {
	what := "keep-alive"
	if !reuse {
		what = "a new connection for each request"
	}
	r.printf("### With %s\n\n| way | requests/s (median) | p50 | p99 | requests/s against direct |\n|---|---|---|---|---|\n", what)
	for i, w := range ways {
		r.printf("| %s | %.0f | %s | %s | %.2f |\n", w.name, medianOf(results[i].rate), show(results[i].p50.median()), show(results[i].p99.median()),
			medianOf(ratios(results[i].rate, results[1].rate)))
	}
	r.printf("\n")
	gain := medianOf(ratios(results[0].rate, results[1].rate))
	r.goal(fmt.Sprintf("with %s at least 1.2 x the requests/s of direct routed veth", what), gain >= 1.2, fmt.Sprintf("%.2f x", gain))
	r.printf("- Against the proxy: %.2f x the requests/s.\n\n", medianOf(ratios(results[0].rate, results[2].rate)))
}
