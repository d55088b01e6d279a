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

// rootTests are the privileged tests of a package, without their "TestRoot", with their source.
func rootTests(t *testing.T, pkg string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?ms)^func TestRoot(\w+)\(.*?^}`).FindAllSubmatch(source, -1) {
			tests[string(m[1])] = string(m[0])
		}
	}
	return tests
}

// rare is in the source of a test that needs what only the rig's machines have for sure.
var rare = regexp.MustCompile(`RequireFeature\([^)]*"(\w+ controller|memory\.reclaim.*|PSI triggers|zram|zswap|swap)"|testutil\.Scratch\(`)

func TestLeftExist(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range allLeft {
		have := rootTests(t, l.pkg)
		if l.why == "" {
			t.Errorf("%s leaves %v without a reason", l.pkg, l.tests)
		}
		for _, test := range l.tests {
			name, _, _ := strings.Cut(test, "/")
			source, ok := have[name]
			if !ok {
				t.Errorf("%s has no TestRoot%s to be left", l.pkg, name)
			}
			if l.on == nil && rare.MatchString(source) {
				t.Errorf("TestRoot%s of %s needs what a machine may lack, and would run nowhere", name, l.pkg)
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
	if strings.Contains(skip, "LargeDatagrams") {
		t.Errorf("%q leaves on 6.12 what only its neighbours do", skip)
	}
	o.release = "sid"
	if skip := skipped(e2e, o, tcg); !strings.Contains(skip, "LargeDatagrams") {
		t.Errorf("%q does not leave LargeDatagrams on sid", skip)
	}
	if skip := skipped(e2e, o, accel{}); skip != "" {
		t.Errorf("a machine of KVM leaves %q", skip)
	}
	o.run = "TestRootDryRun"
	if skip := skipped(e2e, o, tcg); skip != "" {
		t.Errorf("-run leaves %q", skip)
	}
}
