//go:build linux

package testutil

// Feature is something of the kernel's that fcnode or its tests use.
type Feature struct {
	Name  string
	Since Version // the first kernel that has it
	Use   string  // what fcnode does with it
	Else  string  // what it does without
	// Probe tries it and tells why it does not work.
	Probe func() error
	// Lacks, where set, names what this machine is without, such as a kernel option; "" when
	// nothing. It excuses a failed probe except on the rig's kernels.
	Lacks func() string
}

// Features is the one table of what is expected from which kernel on: tests are gated by it
// ([RequireFeature]) and docs/kernels.md is made from it.
var Features = []Feature{
	{Name: "veth", Since: V(5, 0), Use: "the link into each replica's namespace", Else: "none: required",
		Probe: probeLink("veth"), Lacks: withoutConfig("CONFIG_VETH")},
	{Name: "dummy", Since: V(5, 0), Use: "fc0, the device behind the whole prefix", Else: "ifb",
		Probe: probeLink("dummy"), Lacks: withoutConfig("CONFIG_DUMMY")},
	{Name: "ifb", Since: V(5, 0), Use: "fc0 where the kernel has no dummy", Else: "dummy",
		Probe: probeLink("ifb"), Lacks: withoutConfig("CONFIG_IFB")},
}
