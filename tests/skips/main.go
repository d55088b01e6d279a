//go:build linux

// Command skips fails when a privileged run skipped a test that it should have run:
//
//	skips FILE…
//
// Each file holds the output of `go test -json`. A skip is right only where the table of features
// (tests/testutil) says that the kernel is too old, or that the machine lacks what is
// needed; then its message starts with testutil.SkipMarker. Those are listed. The machines of the rig
// (whose packages are called RELEASE:PACKAGE) lack nothing: there only the kernel's age is a reason.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fcnode/fcnode/tests/gotest"
	"github.com/fcnode/fcnode/tests/testutil"
)

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		f, err := os.Open(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "skips: %v\n", err)
			os.Exit(2)
		}
		r, err := read(f)
		if err != nil {
			fmt.Fprintf(os.Stderr, "skips: %s: %v\n", path, err)
			os.Exit(2)
		}
		failed = r.print(os.Stdout, path) || failed
	}
	if failed {
		os.Exit(1)
	}
}

// result is what a run did.
type result struct {
	ran                    int
	justified, unjustified []string
}

// read goes through the events of a run.
func read(in io.Reader) (result, error) {
	var r result
	output := map[string]string{}
	for e, err := range gotest.Events(in) {
		if err != nil {
			return r, err
		}
		name := e.Package + " " + e.Test
		switch {
		case e.Test == "":
		case e.Action == "output":
			output[name] += e.Output
		case e.Action == "pass" || e.Action == "fail":
			r.ran++
		case e.Action == "skip" && strings.Contains(output[name], testutil.SkipMarker):
			_, why, _ := strings.Cut(output[name], testutil.SkipMarker)
			why, _, _ = strings.Cut(why, "\n")
			if rig := strings.Contains(e.Package, ":"); rig && !testutil.KernelIsOlder(why) {
				r.unjustified = append(r.unjustified, name+":"+why)
				continue
			}
			r.justified = append(r.justified, name+":"+why)
		case e.Action == "skip":
			r.unjustified = append(r.unjustified, name+":\n"+strings.TrimSpace(output[name]))
		}
	}
	return r, nil
}

// print tells what was skipped, and whether that is wrong. A run without a single test is.
func (r result) print(out io.Writer, name string) (failed bool) {
	for _, s := range r.justified {
		fmt.Fprintf(out, "skipped: %s\n", s)
	}
	for _, s := range r.unjustified {
		fmt.Fprintf(out, "SKIPPED WITHOUT REASON: %s\n", s)
	}
	fmt.Fprintf(out, "%s: %d tests ran, %d skipped with reason, %d without\n", name, r.ran, len(r.justified), len(r.unjustified))
	if r.ran == 0 {
		fmt.Fprintf(out, "%s: no privileged test ran\n", name)
	}
	return r.ran == 0 || len(r.unjustified) > 0
}
