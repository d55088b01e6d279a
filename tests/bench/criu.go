package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/pagecache"
)

// imageRuns bounds the runs of this bench, in which each one writes images.
const imageRuns = 10

// sleepyApp is an application that is put to sleep on disk.
type sleepyApp struct {
	name string
	root string
	args []string

	bytes    series // not times: of the images
	fcnode   imageTimes
	cold     series // to the first byte, by fcnode, of images that are not in the page cache
	runc     imageTimes
	runcFail error
}

// imageTimes are what one container runtime took.
type imageTimes struct {
	dump    series // the processes stand still
	restore series // until the sockets listen
	byte1   series // until the first byte of an answer
}

// benchImages compares checkpoints with those of runc, by the same CRIU, in the
// same network namespace.
func benchImages(ctx context.Context, o options, r *report) (err error) {
	s, disk, err := openOnDisk(ctx, o, "images")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	tool, err := criu.Find(ctx, "")
	if errors.Is(err, criu.ErrUnavailable) {
		r.printf("## Checkpoints\n\nNot measured: %v.\n\n", err)
		return nil
	}
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
	if err := withoutMPTCP(p); err != nil {
		return err
	}
	b := &imageBench{o: o, s: s, disk: disk, c: c, p: p, tool: tool}
	apps, err := b.run(ctx)
	if err != nil {
		return err
	}
	reportImages(r, apps, tool)
	return nil
}

type imageBench struct {
	o    options
	s    *stage.Stage
	c    *client
	p    *plain
	disk string
	tool *criu.Tool
	m    *container.Manager
	n    int
}

func (b *imageBench) run(ctx context.Context) (apps []*sleepyApp, err error) {
	if apps, err = b.apps(); err != nil {
		return nil, err
	}
	base, err := newRunc(b.s, filepath.Join(b.o.bin, demoSite), b.p, sameFilter)
	if err != nil {
		return nil, err
	}
	var runcs []*runcImages
	for _, a := range apps {
		rc, err := newRuncImages(b, base, a)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rc.close()) }()
		runcs = append(runcs, rc)
	}
	// After runc's: they have mounted cgroup v2 at its usual place.
	b.m, err = container.NewManager(container.Options{
		RunnerPath: filepath.Join(b.o.bin, "fcnode-runner"), RunDir: b.s.File("images-run"),
		CgroupRoot: fmt.Sprintf("/fcnode-bench-images-%d", os.Getpid()), Ahead: 1, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.m.Close(), b.m.Parent().Remove()) }()
	for round := range min(b.o.runs, imageRuns) + 1 {
		for i, a := range apps {
			counts := round > 0 // the first one warms the caches
			if err := b.fcnodeOnce(ctx, a, counts); err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			if a.runcFail == nil {
				a.runcFail = runcs[i].once(ctx, a, counts)
			}
		}
	}
	return apps, nil
}

// apps are the demo site and those of tests/apps that are built, of which one user's processes
// are enough.
func (b *imageBench) apps() ([]*sleepyApp, error) {
	root := filepath.Join(b.disk, "go")
	if err := copyProgram(filepath.Join(b.o.bin, demoSite), root); err != nil {
		return nil, err
	}
	all := []*sleepyApp{{name: "demo site (Go)", root: root, args: []string{"/site"}}}
	dir, err := appRoots()
	if err != nil {
		return nil, err
	}
	for _, a := range []*sleepyApp{
		{name: "python", args: []string{"/usr/bin/python3", "/srv/app.py"}},
		{name: "php", args: []string{"/usr/bin/php", "-S", "[::]:80", "/srv/index.php"}},
		{name: "node", args: []string{"/usr/bin/node", "/srv/app.js"}},
		{name: "node with 128 MB", args: []string{
			"/usr/bin/node", "-e", "global.heap = Buffer.alloc(128 << 20, 'fcnode'); require('/srv/app.js')",
		}},
	} {
		a.root = filepath.Join(dir, strings.Fields(a.name)[0])
		if _, err := os.Stat(a.root); err == nil {
			all = append(all, a)
		}
	}
	return all, nil
}

func (b *imageBench) addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(directAddr), 80)
}

// answers waits until the site answers, and asks some more, so that it is warm.
func (b *imageBench) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for good := 0; good < 3; {
		_, err := b.c.visit(b.addr())
		switch {
		case err == nil:
			good++
		case ctx.Err() != nil:
			return fmt.Errorf("it does not answer: %w", err)
		default: // no listener yet
		}
	}
	return nil
}

func (b *imageBench) spec(a *sleepyApp) container.Spec {
	b.n++
	id := fmt.Sprintf("image-%d", b.n)
	dir := filepath.Join(b.disk, "replicas")
	return container.Spec{
		ID: id, Site: "image", Lower: []string{a.root}, Args: a.args, Netns: b.p.file,
		Upper: filepath.Join(dir, id, "upper"), Work: filepath.Join(dir, id, "work"),
		LogDir: b.s.File("images-logs"), Hostname: "image",
		Privileges: container.Privileges{Capabilities: spec.Capabilities{}.Names()},
	}
}

// fcnodeOnce starts the application, dumps it and restores it, twice: the second time from the disk.
func (b *imageBench) fcnodeOnce(ctx context.Context, a *sleepyApp, counts bool) error {
	c, _, err := b.m.Start(ctx, b.spec(a))
	if err != nil {
		return err
	}
	if err := b.answers(ctx); err != nil {
		return errors.Join(err, b.end(ctx, c))
	}
	var got imageTimes
	var cold series
	var bytes int64
	if c, bytes, err = b.cycle(ctx, a, c, &got, nil); err != nil {
		return err
	}
	var second imageTimes
	if c, _, err = b.cycle(ctx, a, c, &second, dropFromCache); err != nil {
		return err
	}
	cold = second.byte1
	if err := b.end(ctx, c); err != nil {
		return err
	}
	if counts {
		a.fcnode.add(got.dump[0], got.restore[0], got.byte1[0])
		a.cold = append(a.cold, cold...)
		a.bytes = append(a.bytes, time.Duration(bytes))
	}
	return nil
}

// cycle dumps a container, does something with the image, restores it and asks the site.
func (b *imageBench) cycle(
	ctx context.Context, a *sleepyApp, c *container.Container, got *imageTimes, with func(dir string) error,
) (*container.Container, int64, error) {
	dir := filepath.Join(b.disk, "checkpoints", "image")
	if err := b.memoryThere(ctx, c); err != nil {
		return nil, 0, errors.Join(err, b.end(ctx, c))
	}
	time.Sleep(rest)
	begin := time.Now()
	m, err := c.Checkpoint(ctx, dir, container.CheckpointOptions{})
	dump := time.Since(begin)
	if err := errors.Join(err, b.end(ctx, c)); err != nil {
		return nil, 0, err
	}
	if with != nil {
		if err := with(dir); err != nil {
			return nil, 0, err
		}
	}
	time.Sleep(rest)
	begin = time.Now()
	if c, _, err = b.m.Restore(ctx, b.spec(a), dir); err != nil {
		return nil, 0, err
	}
	restore := time.Since(begin)
	if _, err = b.c.visit(b.addr()); err != nil {
		return nil, 0, errors.Join(err, b.end(ctx, c))
	}
	got.add(dump, restore, time.Since(begin))
	return c, m.Bytes, nil
}

// memoryThere waits until all memory of a container has arrived.
func (b *imageBench) memoryThere(ctx context.Context, c *container.Container) error {
	marker := filepath.Join(b.s.File("images-run"), "replicas", c.ID(), "lazy")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := os.Stat(marker); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the memory of %s: %w", c.ID(), context.Cause(ctx))
		}
	}
}

// dropFromCache makes the next reading of an image come from the disk.
func dropFromCache(dir string) error {
	why, err := pagecache.Drop(filepath.Join(dir, criu.ImagesDir))
	if err == nil && why != "" {
		err = errors.New(why)
	}
	return err
}

func (b *imageBench) end(ctx context.Context, c *container.Container) error {
	if err := c.Kill(ctx); err != nil {
		return err
	}
	return b.m.Remove(c.ID())
}

func (t *imageTimes) add(dump, restore, byte1 time.Duration) {
	t.dump, t.restore, t.byte1 = append(t.dump, dump), append(t.restore, restore), append(t.byte1, byte1)
}

// withoutMPTCP makes the plain host's namespace like those of replicas.
func withoutMPTCP(p *plain) error {
	return thread.InNetns(p.file, func() error {
		err := os.WriteFile("/proc/sys/net/mptcp/enabled", []byte("0"), 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

func reportImages(r *report, apps []*sleepyApp, tool *criu.Tool) {
	r.printf("## Checkpoints\n\nThe application is started, asked three times, dumped, restored in the same network namespace, and asked again: by "+
		"fcnode's containers, and by `runc checkpoint` and `runc restore --detach` with the same CRIU (%s), the same network namespace, root file system and "+
		"seccomp filter, without network lock and management of cgroups (both by CRIU's configuration file). fcnode's dump includes its checksums and the sync to the disk, its restore the "+
		"checksums; runc has neither. The page cache is warm except in the last column, for "+
		"which the image was dropped from it. From 32 MB on fcnode restores memory on demand. Medians of %d runs in turns.\n\n", tool.Version, len(apps[0].fcnode.dump))
	r.printf("| | image | dump, fcnode | dump, runc | restored, fcnode | restored, runc | first byte, fcnode | first byte, runc | first byte, fcnode, from the disk |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, a := range apps {
		other := [3]string{"-", "-", "-"}
		if a.runcFail == nil {
			other = [3]string{show(a.runc.dump.median()), show(a.runc.restore.median()), show(a.runc.byte1.median())}
		}
		r.printf("| %s | %.1f MB | %s | %s | %s | %s | %s | %s | %s |\n", a.name, float64(a.bytes.median())/1e6,
			show(a.fcnode.dump.median()), other[0], show(a.fcnode.restore.median()), other[1], show(a.fcnode.byte1.median()), other[2], show(a.cold.median()))
	}
	r.printf("\n")
	for _, a := range apps {
		if a.runcFail != nil {
			text := strings.ReplaceAll(a.runcFail.Error(), "\n", " ")
			r.printf("- %s with runc: %s\n", a.name, text[:min(len(text), 300)])
			continue
		}
		part := ratio(a.fcnode.byte1.median(), a.runc.byte1.median())
		if int64(a.bytes.median()) >= criu.LazyFrom {
			r.printf("- %s, which is not small: %.2f of `runc restore`.\n", a.name, part)
			continue
		}
		r.goal("restore of a small application to its first byte at most 1/2 of `runc restore`: "+a.name, part <= 0.5, fmt.Sprintf("%.2f", part))
	}
	r.printf("\n")
}
