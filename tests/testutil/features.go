package testutil

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// EnvStrictFeatures names the variable that, set to 1, takes back all excuses: a feature that the
// table promises for this kernel must work. The rig sets it, whose kernels' configuration is known.
const EnvStrictFeatures = "FCNODE_STRICT_FEATURES"

// RequireFeature goes on when this kernel has the feature (by its name in [Features]). It skips
// when the kernel is older than the table says, or when the machine lacks
// what the feature needs (a kernel option, a cgroup controller), saying so. It fails
// when the table says that this kernel should have it.
func RequireFeature(t testing.TB, name string) {
	t.Helper()
	f, ok := lookup(name)
	if !ok {
		t.Fatalf("feature %q is not in the table of tests/testutil/features.go", name)
	}
	kernel, err := RunningKernel()
	if err != nil {
		t.Fatal(err)
	}
	v := f.judge(kernel, f.Probe(), os.Getenv(EnvStrictFeatures) == "1")
	switch {
	case v.err != nil:
		t.Fatal(v.err)
	case v.skip != "":
		t.Skip(v.skip)
	}
}

// Has tells whether this kernel has the feature, for tests that cover both cases.
func Has(t testing.TB, name string) bool {
	t.Helper()
	f, ok := lookup(name)
	if !ok {
		t.Fatalf("feature %q is not in the table of tests/testutil/features.go", name)
	}
	return f.Probe() == nil
}

// SkipMarker starts the message of every skip that the table justifies. The rig and
// .ci/run fail on any other skip in a privileged run.
const SkipMarker = "feature not expected here:"

// What follows in the message of a skip that is due to the kernel's age.
const (
	skipOlder  = "comes with Linux"
	skipDebian = "is in Debian's kernels from"
)

// KernelIsOlder tells from the message of a skip that the kernel is too old for the test: the only reason there
// is on a machine of the rig, which has everything else.
func KernelIsOlder(message string) bool {
	return strings.Contains(message, skipOlder) || strings.Contains(message, skipDebian)
}

type verdict struct {
	skip string
	err  error
}

// judge decides what the result of a probe means on a kernel.
func (f Feature) judge(kernel Version, probed error, strict bool) verdict {
	if probed == nil {
		return verdict{}
	}
	if kernel.Less(f.Since) {
		return verdict{skip: fmt.Sprintf("%s %s %s %s, this is %s (%v)", SkipMarker, f.Name, skipOlder, f.Since, kernel, probed)}
	}
	if strict && kernel.Less(f.Expected()) {
		return verdict{skip: fmt.Sprintf("%s %s %s %s on, this is %s (%v)", SkipMarker, f.Name, skipDebian, f.Debian, kernel, probed)}
	}
	if !strict && f.Lacks != nil {
		if why := f.Lacks(); why != "" {
			return verdict{skip: fmt.Sprintf("%s %s: this machine lacks %s", SkipMarker, f.Name, why)}
		}
	}
	return verdict{err: fmt.Errorf("%s should work since Linux %s, this is %s, but its probe failed: %w", f.Name, f.Since, kernel, probed)}
}

func lookup(name string) (Feature, bool) {
	for _, f := range Features {
		if f.Name == name {
			return f, true
		}
	}
	return Feature{}, false
}
