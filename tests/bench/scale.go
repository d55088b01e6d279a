package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	openload "github.com/fcnode/fcnode/tests/load"
)

// The site: four workers that wait 20 ms for each request carry 200 requests a second.
const (
	scaleEnv       = `env: {WORKERS: "4", WAIT: 20ms}`
	scaleOut       = scaleEnv + `, scale: {max: 4, target: {conns: 8}}, idle: never`
	scaleFixed     = scaleEnv + `, idle: never`
	scaleObjective = 250 * time.Millisecond
	scaleLength    = 40 * time.Second

	scaleBurst = 24 // connections at once, of a target of 4
)

// scaleShapes are the loads: each begins with what one replica carries, and rises to what
// three do.
func scaleShapes() []struct {
	name  string
	shape openload.Shape
} {
	return []struct {
		name  string
		shape openload.Shape
	}{
		{"step: 100, then 600 requests/s", openload.Step(100, 600, scaleLength/4)},
		{"ramp: 100 to 600 requests/s in 10 s", openload.Ramp(100, 600, scaleLength/4, scaleLength/2)},
		{"flash crowd: a World Cup evening in 40 s, 60 to 600 requests/s", openload.FlashCrowd(60, scaleLength)},
	}
}

// scaleResult is one load on one site.
type scaleResult struct {
	load *openload.Result
	mean float64 // replicas
	most int
}

// openWorkers is open, with the program of the sites that are scaled.
func openWorkers(ctx context.Context, o options, name, config string) (*stage.Stage, string, error) {
	s, err := open(ctx, o, name, config)
	if err != nil {
		return nil, "", err
	}
	app := application{name: "workers"}
	program, err := app.program(ctx, s, o)
	if err != nil {
		return nil, "", done(s, err)
	}
	return s, program, nil
}

// benchScale loads a site that is scaled out and one that is not with the same arrivals.
func benchScale(ctx context.Context, o options, r *report) (err error) {
	r.printf("## Scaling\n\n")
	s, program, err := openWorkers(ctx, o, "scale", "")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	r.printf("The site has four workers in each replica, each of which waits 20 ms for a request (as for a database): a replica carries 200 requests/s. Requests are "+
		"sent on schedule (an open loop, Poisson arrivals, the same for both), each on a connection of its own; latency counts from when a request "+
		"should have been sent. `scaled`: `scale: {max: 4, target: {conns: 8}}`; `fixed`: one replica. The objective is an answer within %s.\n\n", scaleObjective)
	r.printf("| load | site | requests | over the objective | failed | median | p99 | replicas, mean | most |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, shape := range scaleShapes() {
		for _, way := range []struct{ name, spec string }{{"fixed", scaleFixed}, {"scaled", scaleOut}} {
			name := fmt.Sprintf("%s-%d", way.name, i)
			addr, err := deployWith(ctx, s, program, name, way.spec)
			if err != nil {
				return err
			}
			got, err := scaleLoad(ctx, s, name, addr, openload.Poisson(shape.shape, scaleLength, uint64(i)+1))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", shape.name, way.name, err)
			}
			r.printf("| %s | %s | %d | %.1f %% | %d | %s | %s | %.1f | %d |\n", shape.name, way.name, got.load.Sent, 100*got.load.Over(), got.load.Errors(),
				show(got.load.Quantile(0.5)), show(got.load.Quantile(0.99)), got.mean, got.most)
			if err := s.API.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	r.printf("\n")
	return nil
}

// scaleLoad wakes the site and sends the schedule.
func scaleLoad(ctx context.Context, s *stage.Stage, name string, addr netip.AddrPort, schedule openload.Schedule) (out scaleResult, err error) {
	if _, err := s.API.Wake(ctx, name); err != nil {
		return out, err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan scaleResult, 1)
	go func() { watched <- watchReplicas(watching, s, name) }()
	out.load, err = openload.Run(ctx, openload.Config{
		URL: "http://" + addr.String() + "/", Objective: scaleObjective, Dial: s.Client.Dial, Timeout: 5 * time.Second,
	}, schedule)
	stop()
	seen := <-watched
	out.mean, out.most = seen.mean, seen.most
	return out, err
}

// watchReplicas looks twice a second how many take connections.
func watchReplicas(ctx context.Context, s *stage.Stage, name string) (out scaleResult) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var sum, looks int
	for {
		site, err := s.API.Get(ctx, name)
		if err == nil {
			ready := 0
			for _, r := range site.Replicas {
				if r.State == "ready" {
					ready++
				}
			}
			sum, looks, out.most = sum+ready, looks+1, max(out.most, ready)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			out.mean = float64(sum) / float64(max(1, looks))
			return out
		}
	}
}

// scaleBursts opens connections until the site is scaled out for the nth time, then lets
// them go and the replicas too.
func scaleBursts(ctx context.Context, s *stage.Stage, name string, addr netip.AddrPort, round int) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for range scaleBurst {
		c, err := s.Client.Dial(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	seen := 0
	for ev, err := range s.API.Events(ctx, api.EventOptions{Site: name, Follow: true}) {
		if err != nil {
			return fmt.Errorf("wait until it is scaled out: %w", err)
		}
		if ev.Kind == "scaled-out" {
			seen++
		}
		if seen == round && ev.Kind == "running" && ev.Replica != "" {
			break
		}
	}
	// a connection for the new one, and back to one replica
	for range 2 {
		c, err := s.Client.Dial(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	if _, err := s.API.Park(ctx, name, true); err != nil {
		return err
	}
	_, err := s.API.Wake(ctx, name)
	return err
}
