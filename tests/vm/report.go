package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/fcnode/fcnode/tests/vm/wire"
)

// reporter turns the guest's messages into the output of `go test -json`, by
// the test2json that belongs to this Go.
type reporter struct {
	ctx    context.Context //nolint:containedctx // it lives as long as the run
	out    io.Writer
	log    io.Writer
	name   string // put before each package, so that results of several kernels can be told apart
	begin  time.Time
	plain  bool                 // what is run is no test binary
	cpu    func() time.Duration // that the machine has used so far
	used   time.Duration        // of that before the package that runs
	boot   time.Duration
	took   []string
	failed bool
	done   bool

	json  *exec.Cmd
	stdin io.WriteCloser
}

func newReporter(ctx context.Context, out, log io.Writer, o options, cpu func() time.Duration) *reporter {
	return &reporter{ctx: ctx, out: out, log: log, name: o.release + ":", begin: time.Now(), plain: o.bench != "", cpu: cpu}
}

// take handles one message.
func (r *reporter) take(m wire.Message) error {
	switch m.Kind {
	case wire.Boot:
		r.boot = time.Since(r.begin)
		fmt.Fprintf(r.log, "vm: Linux %s is up after %.1f s\n", m.Text, r.boot.Seconds())
	case wire.Note:
		fmt.Fprintf(r.log, "vm: %s\n", m.Text)
	case wire.Start:
		return r.start(m.Package)
	case wire.Output:
		return r.output(m.Text)
	case wire.Exit:
		return r.exit(m)
	case wire.Done:
		r.done = true
	}
	return nil
}

func (r *reporter) output(text string) error {
	if r.plain {
		_, err := io.WriteString(r.out, text)
		return err
	}
	if _, err := io.WriteString(r.stdin, text); err != nil {
		return fmt.Errorf("writing to test2json: %w", err)
	}
	return nil
}

func (r *reporter) start(pkg string) error {
	r.used = r.cpu()
	if r.plain {
		return nil
	}
	r.json = exec.CommandContext(r.ctx, "go", "tool", "test2json", "-t", "-p", r.name+pkg)
	r.json.Stdout, r.json.Stderr = r.out, r.log
	var err error
	if r.stdin, err = r.json.StdinPipe(); err != nil {
		return fmt.Errorf("starting test2json: %w", err)
	}
	if err := r.json.Start(); err != nil {
		return fmt.Errorf("starting test2json: %w", err)
	}
	return nil
}

// exit ends a package as `go test` would: with a line of its own for a failure that no test reported,
// such as a leak or a panic.
func (r *reporter) exit(m wire.Message) error {
	verdict := "ok"
	if m.Code != 0 {
		r.failed = true
		verdict = "FAIL"
	}
	used := r.cpu()
	r.took = append(r.took, fmt.Sprintf("%-40s %4s %7.1f s %7.1f s of processor time",
		strings.TrimPrefix(m.Package, "github.com/fcnode/fcnode/"), verdict, m.Seconds, (used-r.used).Seconds()))
	if m.Code != 0 && !r.plain {
		if _, err := fmt.Fprintf(r.stdin, "exit status %d\nFAIL\n", m.Code); err != nil {
			return fmt.Errorf("writing to test2json: %w", err)
		}
	}
	return r.endJSON()
}

func (r *reporter) endJSON() error {
	if r.stdin == nil {
		return nil
	}
	if err := r.stdin.Close(); err != nil {
		return fmt.Errorf("closing test2json: %w", err)
	}
	r.stdin = nil
	if err := r.json.Wait(); err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	return nil
}

// close ends a package that the machine left open, so that what it printed is shown.
func (r *reporter) close() error {
	if r.stdin == nil {
		return nil
	}
	r.failed = true
	_, _ = io.WriteString(r.stdin, "\nFAIL: the machine ended in the middle of this package\nFAIL\n")
	return r.endJSON()
}

// summary tells what the run cost.
func (r *reporter) summary(kernel, accel string) {
	fmt.Fprintf(r.log, "vm: Linux %s (%s): boot %.1f s, all %.1f s, %.1f s of processor time\n",
		kernel, accel, r.boot.Seconds(), time.Since(r.begin).Seconds(), r.cpu().Seconds())
	for _, line := range r.took {
		fmt.Fprintf(r.log, "vm:   %s\n", line)
	}
}
