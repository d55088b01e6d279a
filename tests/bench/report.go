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
	b        strings.Builder
	emulated bool // the machine is: its figures are no one's
}

func newReport(o options) *report {
	r := &report{emulated: strings.Contains(o.machine, "emulated")}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if o.machine != "" {
		r.printf("# Performance in a virtual machine\n\nMade by `make bench-vm`; do not edit. %s, Linux %s, %s, %d processors, %s.\n\n",
			time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(kernel)), o.machine, runtime.NumCPU(), runtime.Version())
		r.printf("What the machine of [performance.md](performance.md) lacks is here: a memory controller and swap (zram), a cpu controller, and CAP_SYS_RESOURCE. ")
		if r.emulated {
			r.printf("An emulated machine is 5 to 30 times slower than the one it runs on, and not by the same factor in all it does: the figures say nothing of a real machine, "+
				"and the goals, which are for one, are harder here. The **ratios** between what was measured in this run, in turns and with %d runs each, say something. ", o.runs)
		}
		r.printf("Client, node and application share the processors.\n\n")
		return r
	}
	r.printf("# Performance\n\nMade by `make bench`; do not edit. %s, Linux %s, %d cores (%s), %s.\n\n",
		time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(kernel)), runtime.NumCPU(), cpuModel(), runtime.Version())
	r.printf("The machine is shared and noisy. What is compared was measured in turns within one run (%d runs where runs are counted), so the "+
		"ratios say more than the figures. Client, node and application share the cores. What this machine cannot do is measured in a virtual one, "+
		"as far as that says something: [performance-vm.md](performance-vm.md).\n\n", o.runs)
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
	if r.emulated {
		verdict += " (emulated)"
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
