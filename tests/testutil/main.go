package testutil

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// The stages a privileged test binary goes through, handed on in envStage: unset (the
// supervisor), stageSetup (just unshared), stageInside (ready; also what helper processes
// started by tests inherit, so that they do not unshare again).
const (
	envStage    = "FCNODE_TESTUTIL_STAGE"
	stageSetup  = "setup"
	stageInside = "inside"
)

// endsWithin is how long things that end by themselves (closing goroutines,
// exiting processes) may take before they count as left behind.
const endsWithin = 20 * time.Second

// Main is the TestMain of every package with privileged tests, and does nothing
// special unless those were asked for. Then the binary runs itself again as a child that has
//
//   - a mount namespace: cgroup2 on /sys/fs/cgroup, a bpffs on /sys/fs/bpf, a sysfs,
//     tracefs and an empty tmpfs on /run, all its own;
//   - a network namespace with nothing but lo: no packet can leave the machine;
//   - a cgroup namespace rooted in a cgroup made for this run, with the test
//     binary itself in its child "main", so that the root can hand controllers down;
//
// while the parent stays outside as the subreaper: what tests orphan ends up
// there. After the tests Main reports what they left behind (file descriptors, mounts,
// links, pins, cgroups, processes) and fails the run for it. Namespaces
// are covered by that: each is held by a descriptor, a mount or a process.
//
// What tests share lives until the last of them has ended: release closes it, before
// that is looked at.
//
// Main does not return.
func Main(m *testing.M, release ...func() error) {
	if !RootTests() || os.Geteuid() != 0 || os.Getenv(envStage) == stageInside {
		os.Exit(m.Run())
	}
	if os.Getenv(envStage) == "" {
		code, err := supervise()
		if err != nil {
			fmt.Fprintf(os.Stderr, "testutil: %v\n", err)
		}
		os.Exit(code)
	}
	if err := enter(); err != nil {
		fmt.Fprintf(os.Stderr, "testutil: setting up the sandbox of the privileged tests: %v\n", err)
		os.Exit(1)
	}
	os.Exit(runChecked(m, release))
}

// runChecked runs the tests and fails the run for what they leave behind.
func runChecked(m *testing.M, release []func() error) int {
	before, err := takeSnapshot()
	if err != nil {
		fmt.Fprintf(os.Stderr, "testutil: %v\n", err)
		return 1
	}
	code := m.Run()
	for _, f := range release {
		if err := f(); err != nil {
			fmt.Fprintf(os.Stderr, "testutil: releasing what the tests shared: %v\n", err)
			return 1
		}
	}
	leaks, err := before.leaks(Timeout(endsWithin))
	if err != nil {
		fmt.Fprintf(os.Stderr, "testutil: looking for leaks: %v\n", err)
		return 1
	}
	return report(leaks, code)
}

func report(leaks []string, code int) int {
	for _, l := range leaks {
		fmt.Fprintf(os.Stderr, "LEAK: %s\n", l)
	}
	if len(leaks) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests passed but left %d things behind\n", len(leaks))
		return 1
	}
	return code
}
