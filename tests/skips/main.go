// Command skips fails when a run of tests skipped one that it should have run:
//
//	skips [-any] FILE…
//	skips -nowhere FILE…
//
// Each file holds the output of `go test -json`. A skip is right only where the
// table of features (tests/testutil) says that the kernel is too old, or that
// the machine lacks what the test needs; then its message starts with
// testutil.SkipMarker. Those are listed. The machines of the rig (whose packages
// are called RELEASE:PACKAGE) lack nothing: there only the kernel's age is a
// reason. With -any each skip is right.
//
// With -nowhere it fails for each test that one run skipped and no other ran.
//
// The command also fails when no test ran, and when a package failed though
// none of its tests did (its TestMain found a leak), which gotestsum forgives if
// a second run of a failed test passes.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/tests/testutil"
)

func main() {
	anySkip := flag.Bool("any", false, "every skip is right")
	nowhere := flag.Bool("nowhere", false, "judge all runs together: what one skipped another has to run")
	flag.Parse()
	failed := false
	var runs []result
	for _, path := range flag.Args() {
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
		if runs = append(runs, r); *nowhere {
			continue
		}
		if *anySkip {
			r.justified, r.unjustified = nil, nil
		}
		failed = r.print(os.Stdout, path) || failed
	}
	for _, name := range ranNowhere(runs) {
		if *nowhere {
			failed = true
			fmt.Printf("RAN NOWHERE: %s\n", name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// ranNowhere names the tests that were skipped and run by none.
func ranNowhere(runs []result) []string {
	skipped, ran := map[string]bool{}, map[string]bool{}
	for _, r := range runs {
		for _, name := range r.skipped {
			skipped[name] = true
		}
		for _, name := range r.names {
			ran[name] = true
		}
	}
	maps.DeleteFunc(skipped, func(name string, _ bool) bool { return ran[name] })
	return slices.Sorted(maps.Keys(skipped))
}

// result is what a run did.
type result struct {
	ran                    int
	justified, unjustified []string
	packages               []string // those that failed though none of their tests did
	names, skipped         []string // which ran, and which did not, on whatever machine
}

// event is one line of the output of `go test -json`: see `go doc test2json`.
// Without a Test it is about the package.
type event struct{ Action, Package, Test, Output string }

// read goes through the events of a run.
func read(in io.Reader) (result, error) {
	var r result
	output, blamed := map[string]string{}, map[string]bool{}
	for dec := json.NewDecoder(bufio.NewReader(in)); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return r, nil
		} else if err != nil {
			return r, fmt.Errorf("read the events of go test: %w", err)
		}
		if e.Action == "fail" {
			if e.Test == "" && !blamed[e.Package] {
				r.packages = append(r.packages, e.Package)
			}
			blamed[e.Package] = e.Test != "" // the package ends with its own event
		}
		name := e.Package + " " + e.Test
		if e.Test != "" {
			r.note(e)
		}
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
}

// note keeps which tests ran and which did not, wherever that was.
func (r *result) note(e event) {
	pkg := e.Package
	if _, of, rig := strings.Cut(pkg, ":"); rig {
		pkg = of
	}
	switch e.Action {
	case "pass", "fail":
		r.names = append(r.names, pkg+" "+e.Test)
	case "skip":
		r.skipped = append(r.skipped, pkg+" "+e.Test)
	}
}

// print reports what was skipped, and whether the run has failed for it.
func (r result) print(out io.Writer, name string) (failed bool) {
	for _, s := range r.justified {
		fmt.Fprintf(out, "skipped: %s\n", s)
	}
	for _, s := range r.unjustified {
		fmt.Fprintf(out, "SKIPPED WITHOUT REASON: %s\n", s)
	}
	for _, p := range r.packages {
		fmt.Fprintf(out, "FAILED THOUGH NONE OF ITS TESTS DID: %s\n", p)
	}
	fmt.Fprintf(out, "%s: %d tests ran, %d skipped with reason, %d without\n", name, r.ran, len(r.justified), len(r.unjustified))
	if r.ran == 0 {
		fmt.Fprintf(out, "%s: no test ran\n", name)
	}
	return r.ran == 0 || len(r.unjustified) > 0 || len(r.packages) > 0
}
