// Package left says which privileged tests an emulated machine leaves to one that is not, and why: those of the rig (tests/vm)
// leave them to the machine they run on, and those of Vagrant (tests/root.sh) to that of whoever works with them.
//
// An emulated machine takes five to thirty times as long, and much of what the privileged tests test does not depend on the
// kernel. Of the two packages that start whole containers and daemons it runs those named here, of all others everything that is not
// named, new tests too. A machine of KVM runs all.
package left

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/tests/testutil"
)

// Tests are tests of one package that are left for one reason.
type Tests struct {
	Package string   // its folder
	Why     string   // ends the sentence "left to a machine that is not emulated, because …"
	names   []string // without their "TestRoot"; "Name/sub" is one subtest. TestExist fails for one that no test has
	on      []string // the releases that leave them; nil: all
}

// few is a package that an emulated machine runs only some tests of.
type few struct {
	Package string   // its folder
	on      []string // the releases of which that is so; nil: all
	Why     string   // the others are left: ends the same sentence
	each    []string // what every machine runs of it, without their "TestRoot"
	trixie  []string // what that of 6.12 runs besides: among them all that need what a developer's machine may lack
}

// aside are the kernels on both sides of 6.12, which every developer's make test runs: what is rather likely to be the same
// on all of them is tried there, and what differs by age is tried everywhere.
var aside = []string{"bookworm", "sid"}

var fewOf = []few{{
	Package: "tests/e2e",
	Why: "they are about the daemon's own decisions, or ask of the kernel what tests of bpf, netctl and runtime/container ask of each; " +
		"an emulated daemon takes minutes for what is a second's work elsewhere",
	each: []string{"DiskLimitByQuota", "FirewallHolds", "FrozenSiteIsThawedByItsVisitor", "IdleSiteIsParkedAndWokenAgain"},
	trixie: []string{
		"Apps", "BeyondMemoryMaxIsKilled", "CheckpointUnderDiskLimit", "DatagramWakes", "Egress", "GoesFirstByNiceness",
		"MemoryBudget", "NFS", "NFSStopped", "ReclaimedSiteIsThawed", "ScaleBudget", "ScaleCPUInPlace", "ScaleIOBudget", "ScaleIOInPlace", "ScaleLimitsSurviveKill",
		"ScaleMemoryFollows", "ScaleMemoryInPlace", "StartsWithinMemory", "SwapIsBoundAgain", "SwapOfSleepers", "Userns", "VisitorsWhileReclaiming", "WakeBurst",
	},
}, {
	Package: "runtime/container",
	Why: "they are about what daemon, monitor and runner say to each other and about mistakes of users and images, or ask of the kernel " +
		"what has long been the same",
	each: []string{
		"AppArmor", "CheckpointAndRestore", "CheckpointApplications", "DamagedWithoutItsDaemon", "Exec", "KillAll", "LimitSwap", "Limits", "Mounts",
		"OOMEndsTheWhole", "PreparedOpen", "Privileges", "ReclaimFrozen", "RestoredWithMemory", "StopFrozen", "UsernsFiles", "UsernsRestoredInPlace",
		"UsernsRoot", "VolumeAttributes", "VolumeSources",
	},
	trixie: []string{
		"Devices", "ExecPries", "HostileImage", "LimitCPU", "LimitCPUSet", "LimitCPUWeight", "LimitIO", "LimitMemoryHigh",
		"LimitMemoryMax", "LimitMemoryShrinks", "LimitPids", "OOM", "OutputBelongsToItsUser", "Pressure", "ReclaimStops", "ResourceLimits",
		"RestoredIsAsStarted", "Seccomp", "SystemMounts", "UsernsClones", "UsernsSuid",
	},
}, {
	Package: "bpf", on: []string{"sid"},
	Why: "the verifier takes long there, 6.1 and 6.12 run all, and what runs tests is likely to have a kernel that is nearly as new",
	each: []string{
		"AcceptQueue", "AttachCgroup", "AttachIsIdempotentAndOutlivesTheDaemon", "ConnectionsAreCounted", "ConnectionsStay", "CountedExactlyWithLoss",
		"DeniedSourcesAreDropped", "FirstPacketOfAParkedSiteIsHeld", "FlightOfDatagrams", "FlowMovesToTheUplink", "FlowsOfUDPEnd", "Fragments",
		"ICMPErrorsFollowTheirFlow", "Keepalive", "KnockOnce", "LastListener", "LostFlowIsFoundByItsSocket", "OwnConnectionIsFoundByItsSocket",
		"PacketsAreReadAsTheModelDoes", "Probe", "ProofOfACrowd", "QuotaOfConnections", "Ranges", "ReadinessFromTheKernel", "ReadyReplicaGetsThePackets",
		"Rules", "SecondOpenAdopts", "TriggerOnLatency", "TriggerOnTheAcceptQueue", "Uplink",
	},
}}

var table = []Tests{
	{Package: "tests/e2e", Why: "the processes of these have one user, and are restored on machines that are not emulated", names: []string{
		"Apps/(go|python|php|node)",
	}},
	{Package: "tests/e2e", Why: "the machine below runs them, in user namespaces", names: []string{
		"Apps/(nginx|apache)/(cold|frozen|prepared|checkpointed)",
	}},
	{Package: "runtime/container", Why: "a restore is where the kernel's age may matter, which is tried there", on: aside, names: []string{
		"AppArmor/(started|prepared|adopted|private_.*)",
	}},
	{Package: "runtime/container", Why: "the processes of these have one user, as python's, which is dumped and restored there", names: []string{
		"CheckpointApplications/(go|php|node)",
	}},
	{Package: "runtime/container", Why: "the machine below runs them, whose processes may have several users in user namespaces", names: []string{
		"CheckpointApplications/private-.*",
	}},
	{Package: "runtime/container", Why: "the machine below runs them, whose processes are root's or in user namespaces, and 6.12 those that take CAP_SYS_RESOURCE", on: []string{"trixie"}, names: []string{
		"RestoredIsAsStarted/.*_in_a_user_namespace", "RestoredIsAsStarted/plain", "RestoredIsAsStarted/read-only", "RestoredIsAsStarted/volume.*",
	}},
	{Package: "bpf", Why: "they are about numbers, sizes and folders, which are the loader's own business, and load the programs again and again", names: []string{
		"IncompatibleSizesChangeNothing", "PinFolderMustBeOnBPFFS", "ReplicaNumbersAreTakenOnce", "SiteLimits", "MapsOfAnotherLayout",
		"NoRoomForAKnock", "ManyPortsHurtNobodyElse", "OtherSizesOfFlows",
	}},
	{Package: "bpf", Why: "the programs meet the same packets the same way on each kernel that has verified them", on: []string{"bookworm"}, names: []string{
		"HeldWholeUpToTheLimit", "CapPerSite", "OnlyFirstPacketsWake", "HeadersOnTheWay", "NotIP", "MalformedPackets", "FullRingEatsNoCap",
		"RefusedAlsoByAKnownPort", "VIPChangesHands", "FlowsAreSpread", "TurnsInTLS", "SwitchOfMode",
	}},
	{Package: "bpf", Why: "they send a hundred thousand packets one by one, which takes minutes there", names: []string{"FloodPushesOutItsOwn"}},
	{Package: "runtime/cgroup", Why: "it measures what writing a limit costs, of which emulated figures say nothing", names: []string{"ThousandGroups"}},
	{Package: "netctl", Why: "they injure the set-up between steps that SetupAndRemove takes on each kernel", names: []string{
		"SetupAfterPartialState", "SetupFailsWhole", "SetupRefuses", "SetupWithoutRights", "DaemonIsKilled", "PoolReportsFailure", "PoolSkipsTakenNames",
	}},
	{Package: "netctl", Why: "who goes first is decided before the kernel is asked", names: []string{"PoolYields", "PoolClosesWhileItYields"}},
	{Package: "runtime/image", Why: "a full disk is the same on each kernel", names: []string{"NoSpace", "ResolveOnFullDisk"}},
	{Package: "tests/systemd", Why: "what an upgrade takes over is decided by daemon and package", on: aside, names: []string{
		"Upgrade", "UpgradeFromOwnCgroup",
	}},
	{Package: "runtime/volume", Why: "xfs has long shared blocks, and making a file system takes long there", names: []string{"KeptShares"}},
	{Package: "tests/wordpress", Why: "a whole WordPress with its database takes a quarter of an hour there", names: []string{
		"WordPress",
	}},
}

// Left is what an emulated machine leaves.
type Left struct {
	tests []Tests
	runs  map[string][]string // all that is run of a package, by its folder
}

// On is what an emulated machine with the kernel of a Debian release leaves.
func On(release string) Left {
	l := Left{runs: map[string][]string{}}
	l.tests = slices.DeleteFunc(slices.Clone(table), func(t Tests) bool {
		return t.on != nil && !slices.Contains(t.on, release)
	})
	for _, f := range fewOf {
		if f.on != nil && !slices.Contains(f.on, release) {
			continue
		}
		l.runs[f.Package] = f.each
		if release == "trixie" {
			l.runs[f.Package] = slices.Concat(f.each, f.trixie)
		}
	}
	return l
}

// Release is the release of the rig whose kernel is the one that runs, or is nearest to it: what is said of that holds here.
func Release(kernel testutil.Version) string {
	switch {
	case kernel.Less(testutil.V(6, 12)):
		return "bookworm"
	case testutil.V(6, 12).Less(kernel):
		return "sid"
	}
	return "trixie"
}

// All chooses all privileged tests of a package, in the words of -test.run.
const All = "^TestRoot"

// Args are the arguments for the test binary of the package with that import path.
func (l Left) Args(path string) []string {
	run := All
	for pkg, names := range l.runs {
		if strings.HasSuffix(path, "/"+pkg) {
			run += "(" + strings.Join(names, "|") + ")$"
		}
	}
	var tests, parts []string
	for _, t := range l.tests {
		if !strings.HasSuffix(path, "/"+t.Package) {
			continue
		}
		for _, name := range t.names {
			skip := "^TestRoot" + strings.ReplaceAll(name, "/", "$/^") + "$"
			if strings.Contains(name, "/") {
				parts = append(parts, skip)
			} else {
				tests = append(tests, skip)
			}
		}
	}
	// In this order: go test heeds the first that begins like a name.
	return []string{"-test.run=" + run, "-test.skip=" + strings.Join(append(tests, parts...), "|")}
}

// Tell lists what is left.
func (l Left) Tell(out io.Writer, who string) {
	for _, f := range fewOf {
		if len(l.runs[f.Package]) > 0 {
			fmt.Fprintf(out, "%s: all but %d tests of %s are left to a machine that is not emulated, because %s\n", who, len(l.runs[f.Package]), f.Package, f.Why)
		}
	}
	for _, t := range l.tests {
		fmt.Fprintf(out, "%s: %d tests of %s are left to a machine that is not emulated, because %s\n", who, len(t.names), t.Package, t.Why)
	}
}
