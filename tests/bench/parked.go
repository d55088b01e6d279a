package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
)

// parkedConfig has room for all of them.
const parkedConfig = `prefixes: [10.64.0.0/14, "fd77:fc::/64"]
`

const (
	parkedBatch  = 5000 // sites of one apply
	parkedStarts = 3    // starts of the daemon with all sites
	parkedWakes  = 15   // of one site
	goalLoad     = 5 * time.Second
	goalBytes    = 2048
)

// parkedResult is what the parked sites cost.
type parkedResult struct {
	sites         int
	empty, full   memory
	apply         time.Duration
	start         series // a fresh boot's, from exec to READY=1
	again         series // over the data path that the last daemon left
	startEmpty    time.Duration
	list          series
	alone, amidst series // first byte of a cold site
}

func benchParked(ctx context.Context, o options, r *report) (err error) {
	s, err := open(ctx, o, "parked", parkedConfig)
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	p := parkedResult{sites: o.sites}
	if err := p.measureEmpty(ctx, s, o); err != nil {
		return err
	}
	if err := p.applyAll(ctx, s); err != nil {
		return err
	}
	for range parkedStarts {
		if err := s.Stop(ctx); err != nil {
			return err
		}
		took, err := timedStart(ctx, s)
		if err != nil {
			return err
		}
		p.again = append(p.again, took)
	}
	for range parkedStarts {
		took, err := freshStart(ctx, s)
		if err != nil {
			return err
		}
		p.start = append(p.start, took)
	}
	if p.full, err = quiet(ctx, s); err != nil {
		return err
	}
	if p.amidst, err = wakes(ctx, s); err != nil {
		return err
	}
	if p.list, err = lists(ctx, s); err != nil {
		return err
	}
	p.report(r)
	return nil
}

// measureEmpty measures the node without sites, and one site alone.
func (p *parkedResult) measureEmpty(ctx context.Context, s *stage.Stage, o options) (err error) {
	if p.startEmpty, err = freshStart(ctx, s); err != nil {
		return err
	}
	if p.empty, err = quiet(ctx, s); err != nil {
		return err
	}
	if _, err := deploy(ctx, s, filepath.Join(o.bin, demoSite)); err != nil {
		return err
	}
	p.alone, err = wakes(ctx, s)
	return err
}

// freshStart starts the daemon as after a boot: with nothing but what is on disk.
func freshStart(ctx context.Context, s *stage.Stage) (time.Duration, error) {
	if err := s.Stop(ctx); err != nil {
		return 0, err
	}
	if err := s.Teardown(ctx, false); err != nil {
		return 0, err
	}
	return timedStart(ctx, s)
}

// timedStart takes the time from before the daemon is executed to READY=1.
func timedStart(ctx context.Context, s *stage.Stage) (time.Duration, error) {
	begin := time.Now()
	err := s.Start(ctx)
	return time.Since(begin), err
}

// applyAll applies the parked sites through the API. All have the image of the
// site that is there.
func (p *parkedResult) applyAll(ctx context.Context, s *stage.Stage) error {
	for from := 0; from < p.sites; from += parkedBatch {
		var text strings.Builder
		for i := from; i < min(from+parkedBatch, p.sites); i++ {
			fmt.Fprintf(&text, "---\n{name: site-%06d, domains: [site-%06d.example], image: %q, command: [/site], ports: [80/tcp]}\n",
				i, i, "dir:"+s.File("root-hello"))
		}
		sites, err := spec.Parse("parked", strings.NewReader(text.String()))
		if err != nil {
			return err
		}
		begin := time.Now()
		if _, err := s.API.Apply(ctx, sites, false); err != nil {
			return fmt.Errorf("apply sites %d to %d: %w", from, from+len(sites)-1, err)
		}
		p.apply += time.Since(begin)
	}
	return nil
}

// wakes visits the site, parking it before.
func wakes(ctx context.Context, s *stage.Stage) (series, error) {
	site, err := s.API.Get(ctx, "hello")
	if err != nil {
		return nil, err
	}
	c, err := newClient(s.Client.FD())
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out series
	for i := range parkedWakes + 2 {
		if _, err := s.API.Park(ctx, "hello", true); err != nil {
			return nil, err
		}
		v, err := c.visit(netip.AddrPortFrom(site.Addresses[0], 80))
		if err != nil {
			return nil, err
		}
		if i >= 2 { // the first two warm the caches
			out = append(out, v.firstByte)
		}
	}
	_, err = s.API.Park(ctx, "hello", true)
	return out, err
}

// lists times the command, as a user does.
func lists(ctx context.Context, s *stage.Stage) (series, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	var out series
	for range parkedStarts {
		cmd := exec.CommandContext(ctx, s.Program, "list", "--socket", s.Socket())
		cmd.Stdout = null
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, errors.Join(errors.New("fcnode list"), err)
		}
		out = append(out, time.Since(begin))
	}
	return out, nil
}

func (p *parkedResult) report(r *report) {
	per := func(full, empty uint64) float64 { return (float64(full) - float64(empty)) / float64(p.sites) }
	r.printf("## Parked sites\n\n%d sites, each with an IPv4 and an IPv6 address, a port, a domain, a command and an image. "+
		"Memory is what the node takes with them minus what it takes with none, divided by their number: in the kernel all pinned maps "+
		"as the kernel counts them, in the daemon its anonymous memory (`/proc/PID/smaps_rollup`) when it has stopped shrinking after a start.\n\n", p.sites)
	r.printf("| memory | none | all | a site |\n|---|---|---|---|\n")
	for _, row := range []struct {
		what        string
		empty, full uint64
	}{
		{"kernel: BPF maps", p.empty.maps, p.full.maps},
		{"daemon: anonymous", p.empty.anon, p.full.anon},
		{"for comparison: page cache mapped by the daemon (the state file; the kernel takes it back when it needs to)", p.empty.mapped, p.full.mapped},
	} {
		r.printf("| %s | %s | %s | %.0f B |\n", row.what, mib(row.empty), mib(row.full), per(row.full, row.empty))
	}
	r.printf("\n| time | |\n|---|---|\n")
	r.printf("| start of the daemon after a boot (exec to READY=1), no sites | %s |\n", show(p.startEmpty))
	r.printf("| start of the daemon after a boot, all sites | %s (median of %d; longest %s) |\n", show(p.start.median()), len(p.start), show(p.start.quantile(1)))
	r.printf("| start over the data path that the last daemon left, all sites | %s |\n", show(p.again.median()))
	r.printf("| applying them through the API, %d at a time | %s |\n", parkedBatch, show(p.apply))
	r.printf("| `fcnode list` of all | %s |\n", show(p.list.median()))
	r.printf("| wake to the first byte, one site alone on the node | %s |\n", show(p.alone.median()))
	r.printf("| wake to the first byte, one among all | %s |\n\n", show(p.amidst.median()))
	bytes := per(p.full.own(), p.empty.own())
	r.goal("at most 2 KiB a parked site in kernel and daemon together", bytes <= goalBytes, fmt.Sprintf("%.0f B", bytes))
	r.goal(fmt.Sprintf("%d parked sites loaded within %s", p.sites, goalLoad), p.start.quantile(1) <= goalLoad, show(p.start.quantile(1)))
	r.printf("\n")
}

func mib(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
