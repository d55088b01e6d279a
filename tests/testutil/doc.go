// Package testutil holds what the tests of all packages share: the rule when a
// privileged test runs, the sandbox it runs in, the kernel features it may rely
// on, and the check that it left nothing behind.
//
// A package with privileged tests (named TestRoot…) has one line of set-up:
//
//	func TestMain(m *testing.M) { testutil.Main(m) }
//
// and each such test starts with [Privileged]. Main moves the whole test binary
// into namespaces of its own (see [Main]), so a test may mount, create links and
// cgroups under their usual names and cannot touch the machine, or send a packet
// off it, even when it is wrong.
//
// No test sleeps. What the kernel or the code under test announces is waited for
// with [Receive], [WaitExit] or [WaitLine]; [WaitFor] polls, for facts that nothing
// announces. All deadlines go through [Timeout], which an emulated machine
// stretches with FCNODE_TIME_SCALE.
//
// Production code never imports this package.
package testutil
