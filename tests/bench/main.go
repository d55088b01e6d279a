package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// envInside marks the process in namespaces of its own and names its folder.
const envInside = "FCNODE_BENCH_DIR"

type options struct {
	bin     string
	write   string
	only    string
	traces  string
	machine string // what kind it is, where it is a virtual one
	runs    int
	sites   int
}

// parts are the benches in the order of the report.
var parts = []struct {
	name string
	run  func(context.Context, options, *report) error
}{
	{"wake", benchWake},
	{"steady", benchSteady},
	{"gateway", benchGateway},
	{"counting", benchCounting},
	{"parked", benchParked},
	{"flood", benchFlood},
	{"beside", benchBeside},
	{"detect", benchDetect},
	{"tiers", benchTiers},
	{"apps", benchApps},
	{"images", benchImages},
	{"pull", benchPull},
	{"herd", benchHerd},
	{"looks", benchLooks},
	{"scale", benchScale},
	{"scaleout", benchScaleOut},
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder with fcnode and its helpers")
	flag.StringVar(&o.write, "write", "", "file to write the report to (default: standard output)")
	flag.StringVar(&o.only, "only", "wake,steady,gateway,counting,parked,flood,beside,tiers,apps,images,pull,herd,detect,looks,scale,scaleout", "which benches")
	flag.StringVar(&o.machine, "machine", "", "what kind of virtual machine this is (tests/vm tells)")
	flag.IntVar(&o.runs, "runs", 30, "runs of each thing that is measured by runs")
	flag.IntVar(&o.sites, "sites", 100_000, "parked sites")
	flag.StringVar(&o.traces, "traces", "", "folder with request traces of real sites (without: no figures on them)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if arg := os.Getenv(envProxy); arg != "" {
		return serveProxy(arg)
	}
	if os.Getenv(envInside) == "" {
		return outside(ctx)
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	o.bin = bin
	if err := ownRun(); err != nil {
		return err
	}
	r := newReport(o)
	var failed []error
	for _, p := range parts {
		if !strings.Contains(","+o.only+",", ","+p.name+",") {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", p.name)
		if err := p.run(ctx, o, r); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s: interrupted; nothing is written", p.name)
			}
			r.printf("\n\n## Not measured: %s\n\nIt failed, and the log of the run says why.\n\n", p.name)
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(r.write(o.write), errors.Join(failed...))
}

// ownRun gives the bench a /run in memory, as machines have it that are no
// containers themselves: CRIU keeps there what it has found out about the kernel, and
// without it finds it out anew each time.
func ownRun() error {
	var st unix.Statfs_t
	if err := unix.Statfs("/run", &st); err != nil {
		return err
	}
	if st.Type == unix.TMPFS_MAGIC {
		return nil
	}
	return unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755") // this mount namespace is ours
}

// outside runs the bench in namespaces of its own.
func outside(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the benches make network namespaces and containers: run them as root (sudo make bench)")
	}
	dir, err := os.MkdirTemp("", "fcnode-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := stage.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), envInside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	// A signal to this process alone is for both; Ctrl-C reaches both by itself.
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	return cmd.Wait()
}

// done takes the stage away after a bench. If that failed the daemon's log
// says more than the bench can.
func done(s *stage.Stage, err error) error {
	if err != nil {
		text, _ := os.ReadFile(s.File("daemon.log")) // better than nothing
		lines := strings.SplitAfter(string(text), "\n")
		err = fmt.Errorf("%w\nthe daemon's log ends with:\n%s", err, strings.Join(lines[max(0, len(lines)-20):], ""))
	}
	return errors.Join(err, s.Close())
}

// open sets a stage for one bench, in a folder of its own.
func open(ctx context.Context, o options, name, config string) (*stage.Stage, error) {
	dir := filepath.Join(os.Getenv(envInside), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := stage.Open(dir, filepath.Join(o.bin, "fcnode"), config)
	if err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}
