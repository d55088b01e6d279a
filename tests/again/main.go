// Command again says which tests of a failed run are worth a second run, by themselves:
//
//	again FILE
//
// FILE holds the output of `go test -json`. A privileged test waits for real processes, timers and packets; on a machine that stands still
// for seconds while others run beside it, one of hundreds may miss what it waits for, and such a failure says
// nothing about the change that is tested. So a few tests that failed in company are run again without it, and
// what fails then has failed (tests/suite.sh). It prints the -test.run of those.
//
// It exits with 1 and says why when a second run would prove nothing: when more than a few failed, when something failed that is no test
// (a leak that a package's TestMain found), or when a test's crash kept others from running.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/tests/gotest"
)

// few is how many tests may miss something in one run by chance.
const few = 3

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: again FILE")
		os.Exit(2)
	}
	run, err := choose(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "again: nothing is run again: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(run)
}

func choose(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, err := read(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return r.again()
}

// outcome is what a run came to, as far as it matters here.
type outcome struct {
	tests    map[string]bool   // those that failed, without subtests
	packages map[string]bool   // those that failed
	blamed   map[string]bool   // packages with a test that failed
	open     map[string]bool   // tests that began and have not ended
	crashed  map[string]string // the first line of a crash, by package
}

func read(in io.Reader) (outcome, error) {
	r := outcome{
		tests: map[string]bool{}, packages: map[string]bool{}, blamed: map[string]bool{},
		open: map[string]bool{}, crashed: map[string]string{},
	}
	for e, err := range gotest.Events(in) {
		if err != nil {
			return r, err
		}
		r.add(e)
	}
	return r, nil
}

// crash is how Go's run time begins to tell that a process ends for a fault, a test's timeout among them.
var crash = regexp.MustCompile(`^(panic|fatal error): `)

func (r *outcome) add(e gotest.Event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		r.open[name] = true
	case "pass", "skip", "fail":
		delete(r.open, name)
	case "output":
		if crash.MatchString(e.Output) {
			r.crashed[e.Package] = strings.TrimSpace(e.Output)
		}
	}
	if e.Action != "fail" {
		return
	}
	if e.Test == "" {
		r.packages[e.Package] = true
		return
	}
	test, _, _ := strings.Cut(e.Test, "/")
	r.tests[test], r.blamed[e.Package] = true, true
}

// again gives the -test.run of what failed.
func (r *outcome) again() (string, error) {
	for pkg, line := range r.crashed {
		return "", fmt.Errorf("%s crashed, which kept other tests from running: %s", pkg, line)
	}
	for name := range r.open {
		return "", fmt.Errorf("%s began and did not end", name)
	}
	for pkg := range r.packages {
		if !r.blamed[pkg] {
			return "", fmt.Errorf("%s failed, though none of its tests did", pkg)
		}
	}
	names := slices.Sorted(maps.Keys(r.tests))
	switch {
	case len(names) == 0:
		return "", errors.New("no test failed")
	case len(names) > few:
		return "", fmt.Errorf("%d tests failed, and by chance hardly more than %d do: %s", len(names), few, strings.Join(names, ", "))
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}
