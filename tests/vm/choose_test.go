//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rootTests are the privileged tests of a package, without their "TestRoot".
func rootTests(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func TestRoot(\w+)\(`).FindAllSubmatch(source, -1) {
			tests = append(tests, string(m[1]))
		}
	}
	return tests
}

func TestLeftExist(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range allLeft {
		have := rootTests(t, l.pkg)
		if l.why == "" {
			t.Errorf("%s leaves %v without a reason", l.pkg, l.tests)
		}
		for _, test := range l.tests {
			if name, _, _ := strings.Cut(test, "/"); !slices.Contains(have, name) {
				t.Errorf("%s has no TestRoot%s to be left", l.pkg, name)
			}
			if seen[l.pkg+" "+test] {
				t.Errorf("TestRoot%s of %s is left twice", test, l.pkg)
			}
			seen[l.pkg+" "+test] = true
		}
	}
}

func TestSkipped(t *testing.T) {
	const e2e = "example.org/x/tests/e2e"
	tcg := accel{emulated: true}
	o := options{run: allTests, release: "trixie"}
	skip := skipped(e2e, o, tcg)
	for _, want := range []string{"^TestRootDryRun$", "^TestRootApps$/^php$"} {
		if !slices.Contains(strings.Split(skip, "|"), want) {
			t.Errorf("%q does not leave %s", skip, want)
		}
	}
	if strings.Contains(skip, "SiteThatDoesNotComeUp") {
		t.Errorf("%q leaves on 6.12 what only its neighbours do", skip)
	}
	o.release = "sid"
	if skip := skipped(e2e, o, tcg); !strings.Contains(skip, "SiteThatDoesNotComeUp") {
		t.Errorf("%q does not leave SiteThatDoesNotComeUp on sid", skip)
	}
	if skip := skipped(e2e, o, accel{}); skip != "" {
		t.Errorf("a machine of KVM leaves %q", skip)
	}
	o.run = "TestRootDryRun"
	if skip := skipped(e2e, o, tcg); skip != "" {
		t.Errorf("-run leaves %q", skip)
	}
}
