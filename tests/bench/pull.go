package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// pullRounds bounds the rounds of this bench: each writes the image twice.
const pullRounds = 8

// pulledApps are the applications that are the layers of its image, about 500 MB together.
var pulledApps = []string{"postgres", "apache", "node", "php", "python"}

// puller has an image pulled and unpacked, and removes it.
type puller struct {
	pull, remove func(context.Context) error
	took, synced series // until it is there, and until all of it is on the disk
}

// benchPull pulls an image from a registry on loopback and unpacks it, fcnode and podman in turns.
func benchPull(ctx context.Context, o options, r *report) (err error) {
	s, disk, err := openOnDisk(ctx, o, "pull")
	if err != nil {
		return err
	}
	defer func() { err = done(s, err) }()
	ref, img, size, end, err := pullable(ctx, disk)
	if err != nil {
		return err
	}
	defer end()
	fcnode, podman := pullByNode(s, o, ref), pullByPodman(disk, ref)
	for range min(o.runs, pullRounds) + 1 {
		for _, p := range []*puller{fcnode, podman} {
			if err := p.round(ctx); err != nil {
				return err
			}
		}
	}
	for _, p := range []*puller{fcnode, podman} { // the first round filled the page cache
		p.took, p.synced = p.took[1:], p.synced[1:]
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	r.printf("## An image is pulled and unpacked\n\nOf %d layers with %d MB of files, from a registry on loopback, into an empty store on the same disk; %d rounds in turns. "+
		"fcnode has written it to the disk when it says that it has it, podman (overlay) leaves that to the kernel.\n\n| | minimum | median | p95 | median, with a sync behind it |\n|---|---|---|---|---|\n", len(layers), size>>20, len(fcnode.took))
	r.printf("| fcnode | %s | %s |\n| podman | %s | %s |\n\n", fcnode.took.row(), show(fcnode.synced.median()), podman.took.row(), show(podman.synced.median()))
	against := ratio(fcnode.took.median(), podman.took.median())
	r.goal("to pull and unpack takes no longer than podman", against <= 1, fmt.Sprintf("%.2f of its time", against))
	r.printf("- Until all of it is on the disk: %.2f of podman's time.\n\n", ratio(fcnode.synced.median(), podman.synced.median()))
	return nil
}

// round measures one pull, with nothing left to be written before it.
func (p *puller) round(ctx context.Context) error {
	unix.Sync()
	begin := time.Now()
	if err := p.pull(ctx); err != nil {
		return err
	}
	p.took = append(p.took, time.Since(begin))
	unix.Sync()
	p.synced = append(p.synced, time.Since(begin))
	return p.remove(ctx)
}

func pullByNode(s *stage.Stage, o options, ref string) *puller {
	run := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "fcnode"), append([]string{"--socket", s.Socket(), "image"}, args...)...)
			return told(cmd)
		}
	}
	return &puller{pull: run("pull", ref), remove: run("remove", ref)}
}

func pullByPodman(disk, ref string) *puller {
	run := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			own := []string{"--root", filepath.Join(disk, "podman"), "--runroot", filepath.Join(disk, "podman-run"), "--storage-driver", "overlay"}
			return told(exec.CommandContext(ctx, "podman", append(own, args...)...))
		}
	}
	return &puller{pull: run("pull", "--quiet", "--tls-verify=false", ref), remove: run("rmi", "--force", ref)}
}

// told runs a command; its error has what it said.
func told(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// pullable makes the image, and a registry that has it. size is that of its files, in bytes.
func pullable(ctx context.Context, disk string) (ref string, img v1.Image, size int64, end func(), err error) {
	roots, err := appRoots()
	if err != nil {
		return "", nil, 0, nil, err
	}
	img = empty.Image
	for _, app := range pulledApps {
		file := filepath.Join(disk, app+".tar.gz")
		if err := told(exec.CommandContext(ctx, "sh", "-c", `tar -c -C "$1" . | gzip -6 >"$2"`, "sh", filepath.Join(roots, app), file)); err != nil {
			return "", nil, 0, nil, err
		}
		layer, err := tarball.LayerFromFile(file)
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			return "", nil, 0, nil, err
		}
		plain, err := layer.Uncompressed()
		if err != nil {
			return "", nil, 0, nil, err
		}
		n, err := io.Copy(io.Discard, plain)
		if err = errors.Join(err, plain.Close()); err != nil {
			return "", nil, 0, nil, err
		}
		size += n
	}
	blobs := filepath.Join(disk, "blobs")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		return "", nil, 0, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, 0, nil, err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))}
	go func() { _ = server.Serve(l) }() // until it is closed
	end = func() { _ = server.Close() }
	ref = l.Addr().String() + "/bench/pulled:1"
	to, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(to, img, remote.WithContext(ctx))
	}
	if err != nil {
		end()
		return "", nil, 0, nil, err
	}
	return ref, img, size, end, nil
}
