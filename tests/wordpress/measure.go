package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/pagecache"
)

// way is one to sleep, and what its wakes took to the first byte of the article.
type way struct {
	tier     detect.Tier
	uncached bool          // all files of images, volumes and checkpoints out of the page cache before the wake
	most     time.Duration // that a wake may add to the running request; 0: no goal
	running  []time.Duration
	woken    []time.Duration
	why      string // it is not measured
}

func (w *way) name() string {
	if w.uncached {
		return string(w.tier) + ", uncached"
	}
	return string(w.tier)
}

// measure wakes the site from each tier, many times.
func (s *scenario) measure(ctx context.Context) error {
	ways := []*way{
		{tier: api.TierFrozen}, {tier: api.TierReclaimed, most: 25 * time.Millisecond}, {tier: api.TierPrepared},
		{tier: api.TierCheckpointed, most: 60 * time.Millisecond}, {tier: api.TierCheckpointed, uncached: true, most: 120 * time.Millisecond},
		{tier: api.TierCold}, {tier: api.TierCold, uncached: true},
	}
	for _, w := range ways {
		s.Say("%s, %d times.", w.name(), s.rounds)
		if err := s.measureWay(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	text, err := measured(ways, s.rounds)
	if err != nil {
		return err
	}
	fmt.Fprint(s.Stdout, text)
	if s.write == "" {
		return nil
	}
	return os.WriteFile(s.write, []byte(text), 0o644)
}

func (s *scenario) measureWay(ctx context.Context, w *way) error {
	if err := s.Fcnode(ctx, "park", "--force", s.customer.name); err != nil { // so that it is a fresh replica that gets the visits
		return err
	}
	if err := s.change(ctx, s.customer, func(text string) string { return sleeping(text, string(w.tier)) }); err != nil {
		return err
	}
	for range 3 { // it is warm after two answers
		if _, err := s.blog.read(ctx); err != nil {
			return err
		}
	}
	for round := range s.rounds + 1 {
		took, running, err := s.measureOnce(ctx, w)
		if err != nil || w.why != "" {
			return err
		}
		if round > 0 { // the first one fills the caches
			w.woken, w.running = append(w.woken, took), append(w.running, running)
		}
	}
	return nil
}

// measureOnce waits until the site sleeps, wakes it, and asks five times for the same page.
func (s *scenario) measureOnce(ctx context.Context, w *way) (took, running time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.patience())
	defer cancel()
	if w.why, err = s.asleep(ctx, w.tier); err != nil || w.why != "" {
		return 0, 0, err
	}
	if w.uncached {
		if w.why, err = pagecache.Drop(s.File("state/images"), s.File("state/volumes"), s.File("state/checkpoints")); err != nil || w.why != "" {
			return 0, 0, err
		}
	}
	a, err := s.blog.read(ctx)
	if err != nil {
		return 0, 0, err
	}
	trace, err := s.woken(ctx)
	if err != nil {
		return 0, 0, err
	}
	if trace.From != w.tier {
		return 0, 0, fmt.Errorf("the visitor has woken the site otherwise: %+v", trace)
	}
	var after []time.Duration
	for range 5 {
		next, err := s.blog.read(ctx)
		if err != nil {
			return 0, 0, err
		}
		after = append(after, next.first)
	}
	return a.first, median(after), nil
}

func median(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

// measured is the page that tells of it.
func measured(ways []*way, rounds int) (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the kernel's name: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The first visit to a WordPress\n\nWritten by `make bench-wordpress` on %s, Linux %s; do not edit. Medians of %d wakes.\n\n",
		time.Now().UTC().Format(time.DateOnly), unix.ByteSliceToString(name.Release[:]), rounds)
	b.WriteString("The site of `make demo-wordpress`: Debian's WordPress with its theme on Apache prefork and mod_php, its database elsewhere by TCP, `userns: private`. " +
		"A visitor asks for an article with a picture, from before connect() to the first byte of the page; *running* is the median of five requests for the same page after it. " +
		"*Uncached*: all files of images, volumes and checkpoints were taken out of the page cache while nothing of the site ran (posix_fadvise, and cachestat looks whether they are gone); the database's stay. " +
		"The goals are those of the issue that asked for it: a checkpoint adds at most 60 ms, and 120 ms uncached, `reclaimed` 25 ms.\n\n")
	b.WriteString("| from | first byte | running | added | added, p95 | goal |\n|---|---|---|---|---|---|\n")
	for _, w := range ways {
		if w.why != "" {
			fmt.Fprintf(&b, "| %s | not measured: %s | | | | |\n", w.name(), w.why)
			continue
		}
		added := make([]time.Duration, rounds)
		for i := range added {
			added[i] = w.woken[i] - w.running[i]
		}
		slices.Sort(added)
		goal := ""
		if w.most > 0 {
			goal = fmt.Sprintf("at most %s: **met**", w.most)
			if median(added) > w.most {
				goal = fmt.Sprintf("at most %s: **missed**", w.most)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", w.name(), millis(median(w.woken)), millis(median(w.running)), millis(median(added)),
			millis(added[min(rounds*95/100, rounds-1)]), goal)
	}
	return b.String(), nil
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
