package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

const (
	herdSites  = 100
	herdRounds = 3
	// With more turns than sites all start at the same moment.
	herdAtOnce = "start: {parallel: 1000}\n"
)

// herd is what the visitors of many parked sites got who came in the same instant.
type herd struct {
	what   string
	config string
	took   series // of all rounds
	last   series // the last of each round
	errs   []error
}

// benchHerd wakes many sites at once, with starts that take turns and without.
func benchHerd(ctx context.Context, o options, r *report) error {
	ways := []*herd{{what: "starts take turns (`start.parallel`, as it is)"}, {what: "all start at once", config: herdAtOnce}}
	for i, h := range ways {
		if err := h.measure(ctx, o, fmt.Sprintf("herd-%d", i)); err != nil {
			return err
		}
	}
	r.printf("## %d parked sites are woken in the same instant\n\nEach has one visitor; the time is that to the first byte of the answer, of %d rounds.\n\n", herdSites, herdRounds)
	r.printf("| | answered | first | p10 | median | p90 | last |\n|---|---|---|---|---|---|---|\n")
	for _, h := range ways {
		r.printf("| %s | %d of %d | %s | %s | %s | %s | %s |\n", h.what, len(h.took), herdSites*herdRounds,
			show(h.took.quantile(0)), show(h.took.quantile(0.1)), show(h.took.median()), show(h.took.quantile(0.9)), show(h.last.median()))
	}
	r.printf("\n(first, p10, median and p90 of all visitors; last: the median of the rounds.)\n\n")
	answered := len(ways[0].took)
	r.goal("every client is answered", answered == herdSites*herdRounds, fmt.Sprintf("%d of %d", answered, herdSites*herdRounds))
	for _, err := range ways[0].errs {
		r.printf("  - %v\n", err)
	}
	r.printf("- Turns against all at once: the median visitor waits %.2f x as long, the last %.2f x.\n\n",
		ratio(ways[0].took.median(), ways[1].took.median()), ratio(ways[0].last.median(), ways[1].last.median()))
	return nil
}

func (h *herd) measure(ctx context.Context, o options, name string) (err error) {
	s, err := open(ctx, o, name, h.config)
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	addrs := make([]netip.AddrPort, herdSites)
	clients := make([]*client, herdSites)
	for i := range addrs {
		addrs[i], err = deployWith(ctx, s, filepath.Join(o.bin, demoSite), fmt.Sprintf("herd-%d", i), "idle: 1h, tiers: [cold]")
		if err != nil {
			return err
		}
		if clients[i], err = newClient(s.Client.FD()); err != nil {
			return err
		}
		defer clients[i].close()
	}
	for range herdRounds {
		h.round(clients, addrs)
		if err := parkAll(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// round has all visitors come in the same instant.
func (h *herd) round(clients []*client, addrs []netip.AddrPort) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var took series
	begin := make(chan struct{})
	for i, c := range clients {
		all.Go(func() {
			<-begin
			v, err := c.visit(addrs[i])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				h.errs = append(h.errs, err)
				return
			}
			took = append(took, v.firstByte)
		})
	}
	close(begin)
	all.Wait()
	h.took = append(h.took, took...)
	h.last = append(h.last, took.quantile(1))
}

// parkAll parks what runs and waits until nothing does.
func parkAll(ctx context.Context, s *stage.Stage) error {
	var all sync.WaitGroup
	errs := make([]error, herdSites)
	for i := range herdSites {
		all.Go(func() { _, errs[i] = s.API.Park(ctx, fmt.Sprintf("herd-%d", i), true) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for {
		info, err := s.API.Info(ctx)
		if err != nil {
			return err
		}
		if info.Replicas == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}
