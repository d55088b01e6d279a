package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/pagecache"
)

// appRuns bounds the runs of this bench: each one stops, starts and dumps all applications.
const appRuns = 5

// hosted is an application of tests/apps as a site, or several.
type hosted struct {
	apps.App
	root   string
	byIdle []*sleeper // go to sleep by themselves
	byHand []*sleeper // are put to sleep by the bench
	dump   series     // until it sleeps on disk
	image  series     // not times: bytes
}

// benchApps wakes real applications from each tier.
func benchApps(ctx context.Context, o options, r *report) (err error) {
	s, disk, err := openOnDisk(ctx, o, "apps")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	c, err := newClient(s.Client.FD())
	if err != nil {
		return err
	}
	defer c.close()
	b := &appBench{o: o, s: s, c: c, disk: disk}
	all, missing, err := b.apps()
	if err != nil {
		return err
	}
	if err := b.sleepByHand(ctx, all); err != nil {
		return err
	}
	if err := b.sleepByIdle(ctx, all); err != nil {
		return err
	}
	reportApps(r, all, missing)
	return nil
}

// openOnDisk sets a stage whose daemon has its state on a disk, where images can leave the page cache.
func openOnDisk(ctx context.Context, o options, name string) (s *stage.Stage, disk string, err error) {
	dir := filepath.Join(os.Getenv(envInside), name)
	disk = dir + "-disk"
	state := filepath.Join(disk, "state")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll(state, 0o755)); err != nil {
		return nil, "", err
	}
	if s, err = stage.Open(dir, filepath.Join(o.bin, "fcnode"), ""); err != nil {
		return nil, "", err
	}
	if err = s.StateOn(state); err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, "", errors.Join(err, s.Close())
	}
	return s, disk, nil
}

type appBench struct {
	o    options
	s    *stage.Stage
	c    *client
	disk string
}

// apps are those that are built, and the names of the others.
func (b *appBench) apps() (all []*hosted, missing []string, err error) {
	roots, err := appRoots()
	if err != nil {
		return nil, nil, err
	}
	for _, app := range apps.Table() {
		a := &hosted{App: app, root: filepath.Join(roots, app.Name)}
		if a.Name == "go" {
			a.root = filepath.Join(b.disk, "go")
			if err := copyProgram(filepath.Join(b.o.bin, demoSite), a.root); err != nil {
				return nil, nil, err
			}
		} else if _, err := os.Stat(a.root); err != nil {
			missing = append(missing, a.Name)
			continue
		}
		a.Image, a.Port = "dir:"+a.root, 80
		all = append(all, a)
	}
	return all, missing, nil
}

// appRoots is the folder of the applications' root file systems.
func appRoots() (string, error) {
	if dir := os.Getenv(apps.EnvDir); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "fcnode", "apps", "current", "root"), err
}

// copyProgram makes a root file system of one program. It is on the disk: what is not cannot leave the page cache.
func copyProgram(program, root string) error {
	raw, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(root, "site"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// deploy applies a site of an application and visits it as a browser would: the answer must be the application's.
func (b *appBench) deploy(ctx context.Context, a *hosted, name string, more ...string) (ask question, err error) {
	sites, err := spec.Parse(name, strings.NewReader(a.Spec(name, append(more, "checkpoint: {warm: 1}")...)))
	if err != nil {
		return ask, err
	}
	res, err := b.s.API.Apply(ctx, sites, false)
	if err != nil {
		return ask, err
	}
	to := netip.AddrPortFrom(res[0].Addresses[0], a.Port)
	body, _, err := b.s.Client.Get(ctx, fmt.Sprintf("http://%s%s", to, a.Path))
	if err == nil {
		_, err = a.Count(body)
	}
	return question{to, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", a.Path)}, err
}

// sleepByHand measures the tiers that leave no processes. Nothing else of the applications runs meanwhile, so that
// nobody keeps their files in the page cache.
func (b *appBench) sleepByHand(ctx context.Context, all []*hosted) error {
	why, err := unusable(ctx, b.s, api.TierCheckpointed)
	if err != nil {
		return err
	}
	for _, a := range all {
		name := a.Name + "-by-hand"
		ask, err := b.deploy(ctx, a, name, "idle: 1h", "tiers: [checkpointed]")
		if err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		for _, uncached := range []bool{false, true} {
			a.byHand = append(a.byHand,
				&sleeper{site: name, tier: api.TierCheckpointed, ask: ask, uncached: uncached, unusable: why}, // of what the last start left
				&sleeper{site: name, tier: api.TierCold, ask: ask, uncached: uncached})
		}
	}
	if why == "" {
		if err := b.awaitCRIU(ctx, all[0].byHand[0].site); err != nil {
			return err
		}
	}
	for round := range min(b.o.runs, appRuns) + 1 {
		for _, a := range all {
			for _, sl := range a.byHand {
				if err := b.once(ctx, a, sl, round > 0); err != nil { // the first round warms the caches
					return fmt.Errorf("%s: %s: %w", a.Name, sl.tier, err)
				}
			}
		}
	}
	return nil
}

// awaitCRIU waits until the node knows that it can make checkpoints.
func (b *appBench) awaitCRIU(ctx context.Context, site string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		v, err := b.s.API.Get(ctx, site)
		if err != nil {
			return fmt.Errorf("wait for the node to find CRIU: %w", err)
		}
		if slices.ContainsFunc(v.Ladder, func(r api.Rung) bool { return r.Tier == api.TierCheckpointed }) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// once puts an application to sleep and wakes it, with its files out of the page cache if it is to be so.
func (b *appBench) once(ctx context.Context, a *hosted, sl *sleeper, counts bool) error {
	if sl.unusable != "" {
		return nil
	}
	if err := b.sleep(ctx, a, sl, counts && !sl.uncached); err != nil || sl.unusable != "" {
		return err
	}
	if sl.uncached {
		why, err := pagecache.Drop(a.root, b.image(sl.site))
		if err != nil || why != "" {
			sl.unusable = why
			return err
		}
	}
	err := sl.rouse(ctx, b.s, b.c, counts)
	if err != nil && sl.tier == api.TierCheckpointed {
		why, failed := b.failure(ctx, sl.site)
		if failed == nil && why != "" {
			a.giveUp(why)
			return nil
		}
	}
	return err
}

// giveUp says that an application is not to be had from a checkpoint here.
func (a *hosted) giveUp(why string) {
	for _, sl := range a.byHand {
		if sl.tier == api.TierCheckpointed {
			sl.unusable = why
		}
	}
}

func (b *appBench) image(site string) string {
	return b.s.File(filepath.Join("state", "checkpoints", site))
}

// sleep parks an application on the sleeper's tier.
func (b *appBench) sleep(ctx context.Context, a *hosted, sl *sleeper, counts bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if sl.tier == api.TierCold {
		_, err := b.s.API.Park(ctx, sl.site, true)
		return err
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		v, err := b.s.API.Park(ctx, sl.site, false)
		if err != nil && !errors.Is(err, api.ErrBusy) { // the end of the last visit may be on its way
			return fmt.Errorf("put it to sleep on disk: %w", err)
		}
		if v.Tier == api.TierCheckpointed {
			took := time.Since(begin)
			m, err := criu.Read(b.image(sl.site))
			if err == nil && counts {
				a.dump, a.image = append(a.dump, took), append(a.image, time.Duration(m.Bytes))
			}
			return err
		}
		if why, err := b.failure(ctx, sl.site); err != nil || why != "" {
			a.giveUp(why)
			return err
		}
	}
}

// failure is what the node has told last of a checkpoint that came to nothing.
func (b *appBench) failure(ctx context.Context, site string) (why string, err error) {
	for ev, err := range b.s.API.Events(ctx, api.EventOptions{Site: site}) {
		if err != nil {
			return "", err
		}
		if ev.Kind == "not-checkpointed" || ev.Kind == "not-restored" {
			why = ev.Reason
		}
	}
	return why, nil
}

// sleepByIdle measures the tiers with processes, which are reached by idleness: all applications sleep, and are
// woken in turns, before the first one goes to sleep again and disturbs the others by that.
func (b *appBench) sleepByIdle(ctx context.Context, all []*hosted) error {
	if err := b.idleOn(ctx, all, api.TierFrozen, tierIdle); err != nil {
		return err
	}
	return b.idleOn(ctx, all, api.TierPrepared, 2*tierIdle) // it starts all applications
}

func (b *appBench) idleOn(ctx context.Context, all []*hosted, tier api.Tier, idle time.Duration) error {
	var sleepers []*sleeper
	for _, a := range all {
		sl := &sleeper{site: a.Name + "-" + string(tier), tier: tier}
		a.byIdle, sleepers = append(a.byIdle, sl), append(sleepers, sl)
		var err error
		if sl.ask, err = b.deploy(ctx, a, sl.site, fmt.Sprintf("idle: %s", idle), fmt.Sprintf("tiers: [%s]", tier)); err != nil {
			return fmt.Errorf("%s: %w", sl.site, err)
		}
	}
	for round := range min(b.o.runs, appRuns) + 1 {
		for _, sl := range sleepers {
			if err := sl.awaitSleep(ctx, b.s); err != nil {
				return fmt.Errorf("%s: %w", sl.site, err)
			}
		}
		for _, sl := range sleepers {
			if err := sl.once(ctx, b.s, b.c, round > 0); err != nil { // the first round warms the caches
				return fmt.Errorf("%s: %w", sl.site, err)
			}
		}
	}
	return nil
}

func reportApps(r *report, all []*hosted, missing []string) {
	r.printf("## Wake by application\n\nThe applications of tests/apps, each as a site of its own, asleep on each tier, and the same request to it while it runs. "+
		"`running` is that request, with its connect(); the other times are what a wake adds to it: the time from before connect() to the first byte of the answer, less the median of the "+
		"five requests after it. Between two wakes the node has %s to make ready what it makes ahead. `Uncached` is with a cold page cache: all files of the application's root file system and of its image were taken out of it by posix_fadvise(POSIX_FADV_DONTNEED) "+
		"while nothing of the application ran, which cachestat() confirmed where the kernel has it; the kernel keeps names and inodes, the programs of the node stay in the page cache, and what the "+
		"disk's own cache keeps is not known. `To sleep` is how long `fcnode park` takes to put the running "+
		"application, started cold and asked six times, into an image: freezing, dumping, checksums, the sync to the disk, and the end of its processes. ", rest)
	r.printf("Medians of %d runs.\n\n", len(all[0].byIdle[0].wake))
	r.printf("| | running | frozen | prepared | checkpointed | cold | checkpointed, uncached | cold, uncached | to sleep | image |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, a := range all {
		r.printf("| %s | %s |", a.Name, show(a.running().median()))
		for _, sl := range a.ways() {
			r.printf(" %s |", sl.beyond.cell())
		}
		size := "-"
		if len(a.image) > 0 {
			size = fmt.Sprintf("%.1f MB", float64(a.image.median())/1e6)
		}
		r.printf(" %s | %s |\n", a.dump.cell(), size)
	}
	r.printf("\n")
	if len(missing) > 0 {
		r.printf("- Not built here (`make apps`): %s.\n", strings.Join(missing, ", "))
	}
	for _, a := range all {
		for _, why := range a.whyNot() {
			r.printf("- %s is not measured from %s\n", a.Name, why)
		}
	}
	for _, a := range all {
		if a.Name == "apache" {
			a.goals(r)
		}
	}
	r.printf("\n")
}

// cell is a median in a table.
func (s series) cell() string {
	if len(s) == 0 {
		return "-"
	}
	return show(s.median())
}

// ways in the order of the table.
func (a *hosted) ways() []*sleeper { return append(slices.Clone(a.byIdle), a.byHand...) }

// running has all requests to the running application.
func (a *hosted) running() (all series) {
	for _, sl := range a.ways() {
		all = append(all, sl.running...)
	}
	return all
}

// whyNot says what is missing in the row.
func (a *hosted) whyNot() (all []string) {
	told := ""
	for _, sl := range a.ways() {
		if sl.unusable == "" || sl.unusable == told {
			continue
		}
		told = sl.unusable
		text := strings.ReplaceAll(told, "\n", " ")
		text = sl.way() + ": " + text[:min(len(text), 300)]
		all = append(all, text)
	}
	return all
}

// way is the tier in words of the table.
func (sl *sleeper) way() string {
	if sl.uncached {
		return string(sl.tier) + ", uncached"
	}
	return string(sl.tier)
}

// goals are those for a site like WordPress, for which Apache with PHP stands.
func (a *hosted) goals(r *report) {
	limit := a.running().median()*3/2 + 50*time.Millisecond
	goal := "a site like WordPress is restored and answers within 1.5 x its running request plus 50 ms; Apache with PHP, "
	var others []string
	for _, sl := range a.ways() {
		switch {
		case sl.tier != api.TierCheckpointed:
			others = append(others, sl.way()+" "+sl.wake.cell())
		case len(sl.wake) == 0:
			r.printf("- Goal: %s%s. Not measured here.\n", goal, sl.way())
		default:
			r.goal(goal+sl.way()+", "+show(limit), sl.wake.median() <= limit, show(sl.wake.median()))
		}
	}
	for _, sl := range a.byHand {
		if sl.tier == api.TierCheckpointed && len(sl.wake) > 0 && len(a.byIdle) > 0 {
			r.printf("- Apache with PHP, %s: %.1f x its running request; it adds %.1f x what a thaw adds, and %.2f x what a cold start adds.\n", sl.way(),
				ratio(sl.wake.median(), a.running().median()), ratio(sl.beyond.median(), a.byIdle[0].beyond.median()), ratio(sl.beyond.median(), a.cold(sl.uncached).median()))
		}
	}
	r.printf("- For comparison with these %s, from the other tiers: %s.\n", show(limit), strings.Join(others, "; "))
}

// cold is what a start adds.
func (a *hosted) cold(uncached bool) series {
	for _, sl := range a.byHand {
		if sl.tier == api.TierCold && sl.uncached == uncached {
			return sl.beyond
		}
	}
	return nil
}
