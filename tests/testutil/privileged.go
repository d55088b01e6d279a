package testutil

import (
	"os"
	"testing"
)

// EnvRootTests names the environment variable that, set to 1, runs the
// privileged tests (`make test-root`, `make test-vm`).
const EnvRootTests = "FCNODE_ROOT_TESTS"

// RootTests tells whether privileged tests were asked for.
func RootTests() bool { return os.Getenv(EnvRootTests) == "1" }

// Privileged is the first line of every test that needs root. It skips, saying
// how to run it, unless FCNODE_ROOT_TESTS=1. Asked for, but not root or without
// [Main]'s sandbox, it fails: a suite that was asked for never passes by not running.
func Privileged(t testing.TB) {
	t.Helper()
	if !RootTests() {
		t.Skipf("privileged test NOT RUN: needs root and %s=1 (make test-root)", EnvRootTests)
	}
	if os.Geteuid() != 0 {
		t.Fatalf("%s=1, but the effective user is %d: run the tests as root", EnvRootTests, os.Geteuid())
	}
	if os.Getenv(envStage) != stageInside {
		t.Fatal("privileged test outside of its sandbox: the package needs `func TestMain(m *testing.M) { testutil.Main(m) }`")
	}
}

// EnvOwnMachine names the variable that, set to 1, tells that the whole machine belongs to the tests: the rig's, under systemd, and
// the Vagrantfile's machines of one kernel.
const EnvOwnMachine = "FCNODE_OWN_MACHINE"

// OwnMachine is the first line of a privileged test that needs a machine of its own with
// systemd as process 1, because it installs things for real. Elsewhere the test is skipped. Such a test runs
// outside of [Main]'s sandbox, in a package without it.
func OwnMachine(t testing.TB) {
	t.Helper()
	if os.Getenv(EnvOwnMachine) != "1" {
		t.Skipf("%s NOT RUN: needs a machine of its own, which make test-vm has", SkipMarker)
	}
}
