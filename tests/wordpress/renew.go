package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/tests/load"
)

// renew pushes the next release of the image and deploys it while visitors come.
func (s *scenario) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.patience())
	defer cancel()
	s.Say("The next release is pushed, and deployed while %g visitors a second read the article:", s.rate)
	if err := s.sees(ctx); err != nil { // it is awake
		return err
	}
	if err := s.release(ctx, "2"); err != nil {
		return err
	}
	var renewed atomic.Bool
	type outcome struct {
		*load.Result
		err error
	}
	visitors := make(chan outcome, 1)
	go func() {
		r, err := load.Run(ctx, load.Config{
			URL: "http://" + s.blog.domain + s.blog.articlePath, Timeout: s.patience(), InFlight: atOnce,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return s.blog.dial(ctx, network, "") },
		}, until(&renewed, load.Poisson(load.Constant(s.rate), time.Hour, 1)))
		visitors <- outcome{r, err}
	}()
	err := s.circulate(ctx)
	renewed.Store(true)
	o := <-visitors
	if err = errors.Join(err, o.err); err != nil {
		return err
	}
	s.Requests, s.Failed = o.Sent, map[string]string{}
	for kind, n := range o.Failed {
		s.Failed[string(kind)] = fmt.Sprintf("%d: %s", n, o.FirstError[kind])
	}
	fmt.Fprintf(s.Stdout, "    %d requests meanwhile, %d failed; half of them took up to %s, 99 in 100 up to %s\n",
		o.Sent, o.Sent-o.OK, o.Quantile(0.5).Round(time.Millisecond), o.Quantile(0.99).Round(time.Millisecond))
	return s.intact(ctx)
}

// atOnce bounds the visitors who wait for an answer: a machine with no time to spare is not to be drowned.
const atOnce = 8

// until ends a schedule early.
func until(end *atomic.Bool, of load.Schedule) load.Schedule {
	return func(yield func(time.Duration) bool) {
		of(func(at time.Duration) bool { return !end.Load() && yield(at) })
	}
}

// circulate deploys the new release, which waits until it alone gets visitors.
func (s *scenario) circulate(ctx context.Context) error {
	if err := s.Fcnode(ctx, "deploy", s.customer.name, "--image", imageOf(s.current)); err != nil {
		return err
	}
	return s.sees(ctx)
}

// sees notes which release a new visitor gets, which must be the customer's.
func (s *scenario) sees(ctx context.Context) error {
	a, err := s.blog.read(ctx)
	if err != nil {
		return err
	}
	release := a.header.Get(releaseHeader)
	if release != s.current {
		return fmt.Errorf("a visitor gets release %q of the image, not %s", release, s.current)
	}
	site, err := s.API.Get(ctx, s.customer.name)
	if err != nil {
		return err
	}
	if site.ImageDigest != s.digests[release] {
		return fmt.Errorf("the site has the image %s, and release %s was pushed as %s", site.ImageDigest, release, s.digests[release])
	}
	if !slices.Contains(s.Releases, release) {
		s.Releases = append(s.Releases, release)
	}
	return nil
}
