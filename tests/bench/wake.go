package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
)

// demoSite is the application of the benches.
const demoSite = "fcnode-demo-site"

// deploy applies the site "hello", whose image has nothing but a program. It is parked
// when the bench says so, not when it is idle.
func deploy(ctx context.Context, s *stage.Stage, program string) (addr netip.AddrPort, err error) {
	return deployWith(ctx, s, program, "hello", "idle: 1h, tiers: [cold]") // else parking it is dumping it
}

// deployWith does so with more fields of the spec.
func deployWith(ctx context.Context, s *stage.Stage, program, name, more string) (addr netip.AddrPort, err error) {
	root := s.File("root-" + name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return addr, err
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		return addr, err
	}
	if err := os.WriteFile(filepath.Join(root, "site"), raw, 0o755); err != nil {
		return addr, err
	}
	text := fmt.Sprintf("{name: %s, image: %q, command: [/site], ports: [80/tcp], %s}", name, "dir:"+root, more)
	sites, err := spec.Parse(name, strings.NewReader(text))
	if err != nil {
		return addr, err
	}
	res, err := s.API.Apply(ctx, sites, false)
	if err != nil {
		return addr, err
	}
	return netip.AddrPortFrom(res[0].Addresses[0], 80), nil
}

// wakeResult is what the wakes gave.
type wakeResult struct {
	fcnode, runc series // to the first byte
	runcDefault  series // with the filter that container managers use
	bare         series // connect() to the running site
	bareByte     series // first byte of the running site
	rested       series // connect() to the running site after a pause as long as a wake
	overhead     series // connect() of a wake without the container's own start
	start        series // the container's own start
	steps        [len(overheadSteps) + 1]series
}

// overheadSteps are what the overhead consists of; the rest is what the client
// and its kernel need before the first step and after the last.
var overheadSteps = [...]struct{ what, from, to string }{
	{"SYN held to event read", api.StepHeld, api.StepEventRead},
	{"listening to release begun", api.StepListening, api.StepReleased},
	{"release begun to connected", api.StepReleased, api.StepConnected},
}

func benchWake(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "wake", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	addr, err := deploy(ctx, s, filepath.Join(o.bin, demoSite))
	if err != nil {
		return err
	}
	c, err := newClient(s.Client.FD())
	if err != nil {
		return err
	}
	defer c.close()
	p, err := newPlain(s.Client)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	runc, err := newRunc(s, filepath.Join(o.bin, demoSite), p, sameFilter)
	if err != nil {
		return err
	}
	usual, err := newRunc(s, filepath.Join(o.bin, demoSite), p, defaultFilter)
	if err != nil {
		return err
	}
	var w []wakeResult
	for i := range o.runs + 2 {
		var once wakeResult
		if err := wakeOnce(ctx, s, c, addr, &once); err != nil {
			return err
		}
		time.Sleep(rest)
		t, err := runc.once(ctx, c)
		if err != nil {
			return err
		}
		once.runc = series{t}
		time.Sleep(rest)
		if t, err = usual.once(ctx, c); err != nil {
			return err
		}
		once.runcDefault = series{t}
		if i >= 2 { // the first two warm the caches
			w = append(w, once)
		}
	}
	merged(w).report(r)
	return nil
}

func merged(all []wakeResult) *wakeResult {
	var w wakeResult
	for i := range all {
		o := &all[i]
		to, from := w.series(), o.series()
		for j := range to {
			*to[j] = append(*to[j], *from[j]...)
		}
	}
	return &w
}

func (w *wakeResult) series() []*series {
	all := []*series{&w.fcnode, &w.runc, &w.runcDefault, &w.bare, &w.bareByte, &w.rested, &w.overhead, &w.start}
	for i := range w.steps {
		all = append(all, &w.steps[i])
	}
	return all
}

func wakeOnce(ctx context.Context, s *stage.Stage, c *client, addr netip.AddrPort, w *wakeResult) error {
	if _, err := s.API.Park(ctx, "hello", true); err != nil {
		return err
	}
	time.Sleep(rest)
	cold, err := c.visit(addr)
	if err != nil {
		return err
	}
	w.fcnode = series{cold.firstByte}
	for range 5 {
		v, err := c.visit(addr)
		if err != nil {
			return err
		}
		w.bare = append(w.bare, v.connect)
		w.bareByte = append(w.bareByte, v.firstByte)
	}
	for range 5 {
		time.Sleep(cold.connect)
		v, err := c.visit(addr)
		if err != nil {
			return err
		}
		w.rested = append(w.rested, v.connect)
	}
	traces, err := s.API.Traces(ctx, "hello", 1)
	if err != nil {
		return err
	}
	if len(traces) == 0 {
		return errors.New("the wake left no trace")
	}
	return w.split(traces[0], cold)
}

// split takes the container's own start out of a wake.
func (w *wakeResult) split(t api.Trace, cold visit) error {
	at := map[string]time.Duration{}
	for _, step := range t.Steps {
		at[step.Name] = step.At.Duration()
	}
	read, ok1 := at[api.StepEventRead]
	listening, ok2 := at[api.StepListening]
	if !ok1 || !ok2 {
		return fmt.Errorf("the trace lacks a step: %v", t.Steps)
	}
	start := listening - read
	w.start = series{start}
	w.overhead = series{cold.connect - start}
	rest := cold.connect - start
	for i, step := range overheadSteps {
		took := at[step.to] - at[step.from]
		w.steps[i] = series{took}
		rest -= took
	}
	w.steps[len(overheadSteps)] = series{rest}
	return nil
}

func (w *wakeResult) report(r *report) {
	r.printf("## Wake of the demo site\n\nA static Go HTTP server of 6 MB, asked from a client in another network namespace. " +
		"`runc run` gets the same root file system, a ready network namespace behind a routed veth, and a client that " +
		"connects as soon as the site has said on its output that it listens. It runs once with fcnode's seccomp filter, and once with " +
		"the default filter as container managers give it to runc, which has three architectures instead of one.\n\n")
	r.printf("| | min | median | p95 |\n|---|---|---|---|\n")
	r.printf("| connect() to the running site | %s |\n", w.bare.row())
	r.printf("| first byte of the running site | %s |\n", w.bareByte.row())
	r.printf("| first byte, asleep (cold), fcnode | %s |\n", w.fcnode.row())
	r.printf("| first byte, `runc run`, the same seccomp filter | %s |\n", w.runc.row())
	r.printf("| first byte, `runc run`, the usual seccomp filter | %s |\n", w.runcDefault.row())
	r.printf("| in it: the container's own start (event read to listen) | %s |\n", w.start.row())
	r.printf("| in it: connect() without that start | %s |\n", w.overhead.row())
	for i, step := range overheadSteps {
		r.printf("| in that: %s | %s |\n", step.what, w.steps[i].row())
	}
	r.printf("| in that: the client before and after | %s |\n", w.steps[len(overheadSteps)].row())
	r.printf("| for comparison: connect() to the running site after a pause as long as a wake | %s |\n\n", w.rested.row())
	for _, other := range []struct {
		what string
		took series
	}{{"the same seccomp filter", w.runc}, {"the usual one", w.runcDefault}} {
		part := ratio(w.fcnode.median(), other.took.median())
		r.goal("cold start to the first byte at most 1/3 of `runc run` with "+other.what, part <= 1.0/3, fmt.Sprintf("%.2f", part))
	}
	over := ratio(w.overhead.median(), w.rested.median())
	r.goal("hold + wake + release at most 1.5 x a bare connect besides the container's own start (both after a pause)", over <= 1.5,
		fmt.Sprintf("%.2f x, longer by %s", over, show(w.overhead.median()-w.rested.median())))
	r.printf("- Against a bare connect with warm caches and a CPU that has not slept: %.2f x.\n\n", ratio(w.overhead.median(), w.bare.median()))
}
