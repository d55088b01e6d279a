package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is docs/performance.md in the making.
type report struct {
	b strings.Builder
}

func newReport(o options) *report {
	r := &report{}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	r.printf("# Performance\n\nMade by `make bench`; do not edit. %s, Linux %s, %d cores (%s), %s.\n\n",
		time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(kernel)), runtime.NumCPU(), cpuModel(), runtime.Version())
	r.printf("The machine is shared and noisy. What is compared was measured in turns within one run (%d runs where runs are counted), so the "+
		"ratios say more than the figures. Client, node and application share the cores.\n\n", o.runs)
	return r
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(&r.b, format, args...) }

// goal says whether a promise was kept in this run.
func (r *report) goal(what string, met bool, measured string) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	r.printf("- Goal: %s. Measured: %s: **%s**.\n", what, measured, verdict)
}

func (r *report) write(path string) error {
	if path == "" {
		_, err := os.Stdout.WriteString(r.b.String())
		return err
	}
	return os.WriteFile(path, []byte(r.b.String()), 0o644)
}
