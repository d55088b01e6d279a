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
var rare = regexp.MustCompile(`RequireFeature\([^)]*"(\w+ controller|memory\.reclaim.*|PSI triggers|zram|zswap|swap)"|testutil\.Scratch\(`)

func TestExist(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range table {
		have := rootTests(t, l.Package)
		if l.Why == "" {
			t.Errorf("%s leaves %v without a reason", l.Package, l.names)
		}
		for _, test := range l.names {
			name, _, _ := strings.Cut(test, "/")
			source, ok := have[name]
			if !ok {
				t.Errorf("%s has no TestRoot%s to be left", l.Package, name)
			}
			if l.on == nil && rare.MatchString(source) {
				t.Errorf("TestRoot%s of %s needs what a machine may lack, and would run nowhere", name, l.Package)
			}
			if seen[l.Package+" "+test] {
				t.Errorf("TestRoot%s of %s is left twice", test, l.Package)
			}
			seen[l.Package+" "+test] = true
		}
	}
}

func TestSkip(t *testing.T) {
	const e2e = "example.org/x/tests/e2e"
	skip := strings.Split(Skip(On("trixie"), e2e), "|")
	for _, want := range []string{"^TestRootDryRun$", "^TestRootApps$/^php$"} {
		if !slices.Contains(skip, want) {
			t.Errorf("%q does not leave %s", skip, want)
		}
	}
	const far = "^TestRootUserns$"
	if slices.Contains(skip, far) {
		t.Errorf("%q leaves on 6.12 what only its neighbours do", skip)
	}
	for _, release := range []string{"bookworm", "sid"} {
		skip := strings.Split(Skip(On(release), e2e), "|")
		if !slices.Contains(skip, far) {
			t.Errorf("%q does not leave %s on %s", skip, far, release)
		}
		// go test skips nothing of a test whose part is named before the whole of it.
		if whole, part := slices.Index(skip, "^TestRootApps$"), slices.Index(skip, "^TestRootApps$/^php$"); whole < 0 || part < whole {
			t.Errorf("on %s the whole of Apps is at %d, a part of it at %d", release, whole, part)
		}
	}
	if skip := Skip(On("trixie"), "example.org/x/tests/kernels"); skip != "" {
		t.Errorf("a package of which nothing is left has %q", skip)
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
