package left

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// rootTests are the privileged tests of a package, without their "TestRoot", with their source.
func rootTests(t *testing.T, pkg string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "..", pkg, "*_test.go"))
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
var rare = regexp.MustCompile(`RequireFeature\([^)]*"(\w+ controller|memory\.reclaim.*|PSI triggers|zram|zswap|swap|NFS|CAP_SYS_RESOURCE)"|testutil\.Scratch\(`)

func TestExist(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range table {
		have := rootTests(t, l.Package)
		if l.Why == "" {
			t.Errorf("%s leaves %v without a reason", l.Package, l.names)
		}
		for _, test := range l.names {
			name, _, part := strings.Cut(test, "/")
			source, ok := have[name]
			if !ok {
				t.Errorf("%s has no TestRoot%s to be left", l.Package, name)
			}
			if l.on == nil && !part && rare.MatchString(source) {
				t.Errorf("TestRoot%s of %s needs what a machine may lack, and would run nowhere", name, l.Package)
			}
			if seen[l.Package+" "+test] {
				t.Errorf("TestRoot%s of %s is left twice", test, l.Package)
			}
			seen[l.Package+" "+test] = true
		}
	}
}

// TestFew: what is to run exists, and whatever needs what a developer's machine may lack is run on 6.12.
func TestFew(t *testing.T) {
	for _, f := range fewOf {
		have, runs := rootTests(t, f.Package), slices.Concat(f.each, f.trixie)
		for i, name := range runs {
			if have[name] == "" {
				t.Errorf("%s has no TestRoot%s to be run", f.Package, name)
			}
			if slices.Contains(runs[:i], name) {
				t.Errorf("TestRoot%s of %s is named twice", name, f.Package)
			}
		}
		for name, source := range have {
			if f.on == nil && rare.MatchString(source) && !slices.Contains(runs, name) {
				t.Errorf("TestRoot%s of %s needs what a machine may lack, and would run nowhere", name, f.Package)
			}
		}
	}
}

func TestArgs(t *testing.T) {
	for release, few := range map[string]struct{ runs, leaves string }{"trixie": {"Userns", "DryRun"}, "bookworm": {"FirewallHolds", "Userns"}, "sid": {"FirewallHolds", "Userns"}} {
		args := On(release).Args("example.org/x/tests/e2e")
		run, err := regexp.Compile(strings.TrimPrefix(args[0], "-test.run="))
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{few.runs: true, few.leaves: false, few.runs + "Else": false} {
			if run.MatchString("TestRoot"+name) != want {
				t.Errorf("on %s %q runs TestRoot%s: %v", release, args[0], name, !want)
			}
		}
		if want := "-test.skip=^TestRootApps$/^(go|python|php|node)$|^TestRootApps$/^(nginx|apache)$/^(cold|frozen|prepared|checkpointed)$"; args[1] != want {
			t.Errorf("on %s the rest is %q, want %q", release, args[1], want)
		}
	}
	// go test skips nothing of a test whose part is named before the whole of it.
	l := Left{tests: []Tests{{Package: "p", names: []string{"A/x"}}, {Package: "p", names: []string{"A"}}}}
	if got, want := l.Args("m/p"), []string{"-test.run=^TestRoot", "-test.skip=^TestRootA$|^TestRootA$/^x$"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if args := On("trixie").Args("example.org/x/tests/kernels"); !slices.Equal(args, []string{"-test.run=^TestRoot", "-test.skip="}) {
		t.Errorf("a package of which nothing is left has %q", args)
	}
}

func TestRelease(t *testing.T) {
	for kernel, want := range map[testutil.Version]string{
		testutil.V(6, 1): "bookworm", testutil.V(6, 8): "bookworm", testutil.V(6, 12): "trixie", testutil.V(6, 13): "sid", testutil.V(7, 2): "sid",
	} {
		if got := Release(kernel); got != want {
			t.Errorf("Linux %v is like that of %s, want %s", kernel, got, want)
		}
	}
}
