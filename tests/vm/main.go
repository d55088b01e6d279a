// Command vm runs privileged test binaries in a virtual machine with a Debian kernel and prints
// what they print as `go test -json` does, for gotestsum to read:
//
//	vm -release trixie -binaries bin/tests [-run '^TestRoot']
//
// or runs parts of the bench there and prints its report:
//
//	vm -release trixie -binaries bin/bench-vm -programs bin/bench-vm -bench tiers,apps
//
// The machine is QEMU with the release's own kernel and root file system (image.sh), a disk
// with the test binaries, and a virtio port on which the guest (tests/vm/guest) tells how things go. It exits
// with 1 when a test failed, and with 3 when the machine hung, died or never came up; then
// the end of its console is shown.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/tests/vm/left"
	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitTests   = 1
	exitMachine = 3
)

type options struct {
	release  string
	binaries string        // folder of test binaries and their manifest
	files    string        // folder of programs the tests start
	apps     string        // disk with the real applications, "" for none
	run      string        // -test.run
	bench    string        // parts of the bench to run instead of tests
	runs     int           // of each thing that it measures by runs
	silence  time.Duration // without a word from the guest
	total    time.Duration
	scale    float64
	memory   int // MiB
	cpus     int
	threads  string // of QEMU for emulated processors: "multi" or "single"
	console  string // file that keeps the console, "" for a temporary one
}

func parseFlags() options {
	var o options
	flag.StringVar(&o.release, "release", "trixie", "Debian release whose kernel and user space to run on")
	flag.StringVar(&o.binaries, "binaries", "bin/tests", "folder made by tests/binaries.sh")
	flag.StringVar(&o.files, "programs", "bin", "folder with fcnode and its helpers")
	flag.StringVar(&o.apps, "apps", "", "disk with the real applications (tests/apps)")
	flag.StringVar(&o.run, "run", cmp.Or(os.Getenv("RUN"), left.All), "which tests to run; else those that RUN in the environment names, else all but what tests/vm/left names")
	flag.StringVar(&o.bench, "bench", "", "parts of the bench to run instead of tests")
	flag.IntVar(&o.runs, "runs", 5, "runs of each thing that the bench measures by runs")
	flag.DurationVar(&o.silence, "silence", 8*time.Minute, "kill a machine that says nothing for so long")
	flag.DurationVar(&o.total, "total", 80*time.Minute, "kill a machine that runs for so long")
	flag.Float64Var(&o.scale, "scale", 0, "multiplier of the tests' deadlines (0: 10 when emulated, else 1)")
	flag.IntVar(&o.memory, "memory", 4096, "memory of the machine, MiB")
	flag.IntVar(&o.cpus, "cpus", 2, "processors of the machine")
	flag.StringVar(&o.threads, "threads", "multi", "multi: each emulated processor runs on a thread of its own; single: they take turns on one, which "+
		"costs a quarter less, for when there is a machine for each processor")
	flag.StringVar(&o.console, "console", "", "file to keep the console's output in")
	flag.Parse()
	return o
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	failed, err := run(ctx, parseFlags())
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "vm: %v\n", err)
		os.Exit(exitMachine)
	case failed:
		os.Exit(exitTests)
	}
}

// run makes the machine and runs it to its end; failed tells that a test binary did.
func run(ctx context.Context, o options) (failed bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.total, fmt.Errorf("the machine was still running after %v", o.total))
	defer cancel()
	img, err := findImage(ctx, o.release)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "fcnode-vm.")
	if err != nil {
		return false, fmt.Errorf("making a folder for the machine: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	accel := accelerator(o.threads)
	if o.scale == 0 {
		o.scale = accel.scale
	}
	job, err := makeJob(o, accel)
	if err != nil {
		return false, err
	}
	if err := job.writeDisk(ctx, filepath.Join(dir, jobDisk)); err != nil {
		return false, err
	}
	if err := writeSpareDisks(ctx, dir); err != nil {
		return false, err
	}
	if err := writeInitramfs(dir+"/initramfs", job.guest, img.modules); err != nil {
		return false, err
	}
	m, err := startMachine(o, accel, img, dir)
	if err != nil {
		return false, err
	}
	notes := os.Stdout // between packages, where nothing else prints; on standard error gotestsum would count them as errors
	if o.bench != "" {
		notes = os.Stderr
	}
	if leaves, ok := leftBy(o, accel); ok {
		leaves.Tell(notes, "vm")
	}
	rep := newReporter(ctx, os.Stdout, notes, o, m.cpu)
	err = m.follow(ctx, o.silence, rep)
	err = errors.Join(err, m.stop(), rep.close())
	if err == nil && !rep.done {
		err = errors.New("the machine switched itself off before its job was done")
	}
	if err != nil {
		err = fmt.Errorf("%s on %s: %w\nthe end of its console:\n%s", o.release, img.kernelRelease, err, m.consoleTail())
	}
	rep.summary(img.kernelRelease, accel.name)
	return rep.failed, err
}
