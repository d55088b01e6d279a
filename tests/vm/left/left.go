// Package left says which privileged tests an emulated machine leaves to one that is not, and why: those of the rig (tests/vm)
// leave them to the machine they run on, and those of Vagrant (tests/root.sh) to that of whoever works with them.
//
// An emulated machine takes five to thirty times as long, and much of what the privileged tests test does not depend on the
// kernel. Everything that is not named here runs on each kernel of the rig, new tests too. A machine of KVM runs all.
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

// aside are the kernels on both sides of 6.12, which every developer's make test runs: what is rather likely to be the same
// on all of them is tried there, and what differs by age is tried everywhere.
var aside = []string{"bookworm", "sid"}

var table = []Tests{
	{Package: "bpf", Why: "they are about numbers, sizes and folders, which are the loader's own business", names: []string{
		"IncompatibleSizesChangeNothing", "PinFolderMustBeOnBPFFS", "ReplicaNumbersAreTakenOnce", "SiteLimits", "MapsOfAnotherLayout",
	}},
	{Package: "bpf", Why: "the programs meet the same packets the same way on each kernel that has verified them", on: aside, names: []string{
		"HeldWholeUpToTheLimit", "CapPerSite", "OnlyFirstPacketsWake", "HeadersOnTheWay", "NotIP", "MalformedPackets", "FullRingEatsNoCap",
		"RefusedAlsoByAKnownPort", "VIPChangesHands", "FlowsAreSpread", "TurnsInTLS", "SwitchOfMode",
	}},
	{Package: "bpf", Why: "they send a hundred thousand packets one by one, which takes minutes there", names: []string{"FloodPushesOutItsOwn"}},
	{Package: "tests/e2e", Why: "it starts as many sites as may be woken on trust, for longer there than a cookie lasts", names: []string{
		"ForgedHandshakesWakeNobody/auto",
	}},
	{Package: "tests/e2e", Why: "whom a daemon lets start is its own decision, and 6.12 has the limits that it reads", on: aside, names: []string{
		"StartsWithinMemory",
	}},
	{Package: "tests/e2e", Why: "a checkpoint is measured and dropped by the daemon, DiskLimitByQuota asks each kernel for quotas, and tmpfs has no mapped owners before 6.3", on: aside, names: []string{
		"CheckpointUnderDiskLimit",
	}},
	{Package: "tests/e2e", Why: "the client of NFS and its server are the kernel's own, and what is asked of them is the same on each; cutting a server off takes minutes there", on: aside, names: []string{
		"NFS",
	}},
	{Package: "tests/e2e", Why: "it took seven silent minutes on 6.12, after which a machine is taken for one that hangs", names: []string{
		"NFSStopped",
	}},
	{Package: "tests/e2e", Why: "who waits for a stalled disk is the daemon's own business, and Debian's cloud kernels lack loop devices or tools for one", names: []string{
		"StalledDisk",
	}},
	{Package: "netctl", Why: "they injure the set-up between steps that SetupAndRemove takes on each kernel", names: []string{
		"SetupAfterPartialState", "SetupFailsWhole", "SetupRefuses", "SetupWithoutRights", "DaemonIsKilled", "PoolReportsFailure", "PoolSkipsTakenNames",
	}},
	{Package: "netctl", Why: "who goes first is decided before the kernel is asked", names: []string{"PoolYields", "PoolClosesWhileItYields"}},
	{Package: "runtime/container", Why: "they are about mistakes of users and of images, found before or without the kernel", names: []string{
		"StartFails", "StartExists", "StartCancelled", "ExitStatus", "ExecFails", "User", "Files", "PreparedFails", "DaemonOutput",
	}},
	{Package: "runtime/container", Why: "they are about what daemon, monitor and runner say to each other when one of them dies", names: []string{
		"AdoptMidStart", "AdoptEnded", "AdoptLost", "MonitorTerminated", "IdleSlotKilled", "StopCancelled", "PreparedDies", "PreparedInitDiesInOpen",
		"PreparedDaemonKilled", "PreparedDaemonKilledInOpen", "PreparedDiscard", "ManagerCloseDiscardsPrepared",
		"DaemonKilledWhileDumping", "DaemonKilledWhileRestoring", "RestoreCancelled", "CheckpointAfterAdoption",
		"UpgradeUnderTheDaemon", "ProgramsOfAnotherVersion", "RunnerOfAnotherVersion", "AdoptAnotherVersion", "MemoryServedWithoutItsDaemon",
		"ServerOfMemoryKilled",
	}},
	{Package: "runtime/container", Why: "they wait for deadlines of the daemon and its monitors, or restore again and again, for minutes there", names: []string{
		"AdoptDamaged", "HangingRestoreEnds", "SeveralProcessesRestoredUnderLoad", "ServerOfMemoryEnds", "ImageIsCutShort",
	}},
	{Package: "tests/e2e", Why: "they start a daemon and its sites many times, which takes minutes there", names: []string{
		"DamagedFiles", "ExhaustedTables", "HungRestoreStartsCold", "UmaskOfTheNode",
	}},
	{Package: "tests/e2e", Why: "what a node allows is decided before the kernel is asked", names: []string{"PrivilegesWithinTheNodes"}},
	{Package: "tests/e2e", Why: "what an image lacks is seen in its files, before the kernel is asked", names: []string{"OddImages", "OddFolder"}},
	{Package: "tests/e2e", Why: "they are about programs before the node, to which a site is an address", names: []string{
		"Gateway", "GatewayTellsWho", "FrontEnds", "RoutesSocketGivesNoRights", "FromPHPFPM",
	}},
	{Package: "runtime/container", Why: "its two hundred starts take minutes there, and VolumeSources asks each kernel for the same refusals", names: []string{
		"VolumeRace",
	}},
	{Package: "runtime/container", Why: "that a checkpoint does not fit is seen in its manifest, before CRIU is asked", names: []string{
		"DamagedCheckpoint", "CheckpointOfAnother", "CheckpointIsUsedOnce",
	}},
	{Package: "runtime/container", Why: "what a process is given is decided by its monitor, and asking each of them takes minutes there", names: []string{
		"Descriptors", "ExecEndsAll",
	}},
	{Package: "runtime/container", Why: "what they ask of the kernel has long been the same", on: aside, names: []string{
		"RestoredIsAsStarted", "ExecIsConfined", "Seccomp", "UsernsSuid", "NewPrivileges", "LazyMemory",
	}},
	{Package: "runtime/container", Why: "a restore is where the kernel's age may matter, which is tried there", on: aside, names: []string{
		"AppArmor/(started|prepared|adopted|private_.*)",
	}},
	{Package: "runtime/container", Why: "the processes of these have one user, as python's, which is dumped and restored there", on: aside, names: []string{
		"CheckpointApplications/go", "CheckpointApplications/php", "CheckpointApplications/node",
		"CheckpointApplications/private-go", "CheckpointApplications/private-php", "CheckpointApplications/private-node", "CheckpointApplications/private-python",
	}},
	{Package: "runtime/container", Why: "what stands in the way of a checkpoint is read from files that have long been the same", names: []string{"Preflight"}},
	{Package: "runtime/container", Why: "the machine below runs them, whose processes are root's or in user namespaces, and 6.12 those that take CAP_SYS_RESOURCE", on: []string{"trixie"}, names: []string{
		"CheckpointApplications/private-.*", "CheckpointApplications/(go|php|node)",
		"RestoredIsAsStarted/.*_in_a_user_namespace", "RestoredIsAsStarted/plain", "RestoredIsAsStarted/read-only", "RestoredIsAsStarted/volume.*",
	}},
	{Package: "tests/e2e", Why: "what they ask of the kernel bpf asks on each, and an emulated daemon takes minutes for it", on: aside, names: []string{
		"FloodsHurtNobodyElse",
	}},
	{Package: "runtime/container", Why: "whether CRIU heeds a refusal DamagedWithoutItsDaemon asks of each, and many restores take minutes there", names: []string{
		"NothingOfDamagedMemoryRuns", "ClonesAtOnce", "FilesInMemory",
	}},
	{Package: "runtime/image", Why: "a full disk is the same on each kernel", names: []string{"NoSpace", "ResolveOnFullDisk"}},
	{Package: "tests/systemd", Why: "that nothing is taken from under an older daemon's sites is decided by the daemon", on: aside, names: []string{
		"UpgradeFromOwnCgroup",
	}},
	{Package: "tests/e2e", Why: "they are about the daemon's own decisions, its state on disk, its API and its command line", names: []string{
		"UnchangedSpecChangesNothing", "ApplyIsAllOrNothing", "DryRun", "DeleteWithOpenConnection", "DeleteWhileWaking", "SitesFolder", "AlwaysAwake",
		"CommandLine", "ImageIsPinned", "ImageOfARegistry", "UntrustedImage", "ImagesOfTheNode", "NamedVolumes", "VolumesOutsideOfRoots", "DeployByLink", "SitesFolderIsGone", "BadSpecIsExplained", "Logs", "Exec", "Names", "EgressNone", "ImageThatComesBack", "BackoffHoldsVisitorsOff", "FullDisk", "RefusesToStart",
		"SecondDaemonIsRefused", "KilledDuringApply", "KilledDuringDelete", "SiteThatEndsWhileNoDaemonRuns", "Reboot",
		"StubbornSiteIsParked", "CrashedSiteIsWokenAgain", "PortThatStaysClosedIsRefused", "HoldDeadline", "VisitorWhoGivesUp", "SiteThatDoesNotComeUp",
		"CheckSite", "LadderIsShown", "LadderIsClimbedDown", "NodeWithoutTheMeans", "NotWarmIsNotCheckpointed",
		"DamagedCheckpointStartsCold", "CheckpointIsDroppedWhenItsSiteChanges", "PreparedAreBounded", "PreparedAfterChange", "PreparedDiesAtItsGate",
		"CirculateNextFails", "CirculateApart", "CirculateAhead", "Lifetime", "AgeOutlivesCheckpoints", "NewImageCirculates", "ScaleOut", "ScaleInDrains", "ScaleNoise",
		"ScaleUpSaysWhyNot", "NodeChoosesTheLadder", "StartsTakeTurns", "ScanWakesFew", "CirculateByHand", "ScaleSurge", "CheckpointsAreBounded",
		"IdleBeforeCRIUIsFound", "NoCRIUAfterAll", "NewLadderActsAtOnce",
		"SilentDaemon", "LostRecords",
		"ScaleOutFrozenSpare", "ScaleOutPreparedSpare", "KilledWithSpare", "SpareDiesWhileScalingOut", "SpareOfAnOldSpec",
		"PreparedSpareThatIsNotKept", "WorkKeepsAwake", "Schedule",
	}},
	{Package: "tests/e2e", Why: "they try what others there try once in each of many moments, for longer than an emulated machine should", names: []string{
		"UpdateUnderLoad", "CirculateUnderLoad", "KilledUnderLoad", "StoppedInOrderUnderLoad", "KilledDuringStart", "StoppedDuringStart", "KilledDuringStop", "KilledIdleDaemon", "CyclesLeaveNothingBehind", "KilledMonitor",
		"CrowdBeyondTheCapIsAnsweredToo", "TwoSitesWakeAtOnce", "ChangeOfAttachment", "LargeBodies", "ManySitesAtOnce", "SitesVisitOthers",
		"VolumesStay", "OneFamilyNode", "OpenConnectionKeepsAwake", "VisitorsAtTheEndOfIdle", "LoopbackListenerIsNotReady", "HybridHost",
		"TeardownWithoutUplink", "TeardownOfRemains", "VisitorsWhileParking", "VisitorsWhilePreparing", "PreparedAgain", "HandsOnASleepingSite",
		"VisitorsInEachStepOfFreezing", "VisitorsInEachStepOfDumping", "KilledWhileSuspending", "KilledWhileItsSiteSleeps", "KilledAtEachStepOfFreezing",
		"KilledWhileCirculating", "DrainingKeepsConnections", "ScaleKilled", "KilledWhileAGateOpens", "KilledDuringARestore",
		"KilledWhileASiteIsThawed", "KilledWhileSpareJoins",
	}},
	{Package: "tests/e2e", Why: "the processes of these have one user, and are restored on machines that are not emulated", names: []string{
		"Apps/go", "Apps/python", "Apps/php", "Apps/node",
	}},
	{Package: "tests/e2e", Why: "the tests of netctl, runtime/container and bpf ask of each kernel what these need of it", names: []string{
		"LatePortGetsItsVisitors", "PreparedSiteIsWoken", "ReadyProbes", "HangingApplications", "ScaleGoesFirst", "Denied", "DeniedAtUplinks", "NetworkPolicy", "Ignored",
	}},
	{Package: "tests/e2e", Why: "they are about files, specs and counts, and what they ask of the kernel tests of other packages ask of each", names: []string{
		"ArrivalsAreRecorded", "VolumeBackup", "VolumeSnapshots", "VolumeSnapshotsNot", "Copy", "Forward", "DeployAndBack", "Secrets", "StateExported", "SiteReachesNoMetrics",
	}},
	{Package: "tests/e2e", Why: "its servers and clients are the same on each kernel, which holds their packets and restores processes like theirs in other tests", names: []string{
		"Clients",
	}},
	{Package: "runtime/volume", Why: "xfs has long shared blocks, and making a file system takes long there", names: []string{"KeptShares"}},
	{Package: "tests/wordpress", Why: "a whole WordPress with its database takes a quarter of an hour there", names: []string{
		"WordPress",
	}},
	{Package: "tests/e2e", Why: "they start and stop the same containers as the tests that are run", on: aside, names: []string{
		"Userns", "UsernsOfTheNode", "Apps", "Cascade",
	}},
	{Package: "tests/e2e", Why: "what a daemon reckons, watches and refuses is the same on each kernel", on: aside, names: []string{
		"ServiceLevels", "MemoryBudget", "LimitsOfTheNode", "DiskLimitWatched", "OneSiteFillsTheDisk", "ProofOutlivesTheDaemon", "ProofOfASiteThatFails",
	}},
	{Package: "tests/e2e", Why: "what they ask of the kernel has long been the same", on: aside, names: []string{
		"GoesFirstByNiceness",
	}},
	{Package: "tests/e2e", Why: "what they ask of the kernel the tests of runtime/container ask on each kernel", on: aside, names: []string{
		"ReclaimedSiteIsThawed", "VisitorsWhileReclaiming", "BusyAsSeenByTheKernel",
		"ScaleCPUInPlace", "ScaleMemoryInPlace", "ScaleLimitsSurviveKill", "ScaleBudget",
		"ScaleIOInPlace", "ScaleIOBudget", "ScaleMemoryFollows", "WakeBurst", "BeyondMemoryMaxIsKilled", "SwapOfSleepers", "SwapIsBoundAgain",
	}},
	{Package: "runtime/container", Why: "they are about processes of fcnode, and start dozens of containers", names: []string{
		"ExecStalled", "ExecOutput", "ExecStreamsAreKept", "ExecDaemonKilled", "InitExecFails", "AdoptWithoutInotify",
		"AdoptIsNotQuarantineWhenAskedToStop", "PreparedOpenedAsItDies", "StartAndExit", "Stop", "StopUnheeded", "ExecTTY", "MonitorKilled",
		"PreparedSealed", "InterruptedDump", "DumpFails", "Twins", "UsernsRanges", "CheckpointOfTheLiving",
		"RootIsPrivate", "Volumes", "InitSleeps", "ExecRefuses",
	}},
	{Package: "runtime/container", Why: "what they ask of the kernel has long been the same, and Mounts, VolumeSources, Privileges, Exec and CheckpointAndRestore ask each", on: aside, names: []string{
		"OutputBelongsToItsUser", "VolumeTargets", "VolumeIsAMountpoint", "RestoreWithSwappedSource", "NewPrivilegesRestored", "Rights",
		"ResourceLimits", "Devices", "SystemMounts", "HostileImage", "HostUser", "Init", "StopKills", "ExecPries",
	}},
	{Package: "runtime/container", Why: "runtime/cgroup asks each kernel for the same limits", on: aside, names: []string{
		"LimitCPU", "LimitCPUWeight", "LimitCPUSet", "LimitIO", "LimitMemoryHigh", "LimitMemoryShrinks", "LimitMemoryMax", "LimitPids",
		"Pressure", "ReclaimStops", "OOM",
	}},
	{Package: "tests/e2e", Why: "what they ask of the kernel bpf, netctl and runtime/container ask on each, and an emulated daemon takes minutes for it", names: []string{
		"HostUserReachesNothing", "SilentRestoreStartsCold", "ExecKeepsFiles", "CheckFindsNothingAmiss", "LargeDatagrams", "LoadIsSeen",
		"ListenerComesBack", "OneFamilyListeners", "ConnectionOfAnEndedReplicaIsReset", "SeveralReplicas", "GoesFirstIsRefused",
		"CheckpointedSiteIsRestored",
	}},
	{Package: "tests/e2e", Why: "what they ask of the kernel bpf and netctl ask on each, and an emulated daemon takes minutes for it", on: aside, names: []string{
		"CrowdOnParkedSiteIsOneStart", "LostFlowsAreFoundAgain", "TeardownOfOtherSizes", "WhatIsNotThereIsRefusedAtOnce", "DatagramWakes",
		"Egress",
	}},
}

// On is what an emulated machine with the kernel of a Debian release leaves.
func On(release string) []Tests {
	return slices.DeleteFunc(slices.Clone(table), func(t Tests) bool {
		return t.on != nil && !slices.Contains(t.on, release)
	})
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

// Skip is the -test.skip of the package of that import path; "" when it leaves nothing.
func Skip(leaves []Tests, path string) string {
	var tests, parts []string
	for _, t := range leaves {
		if !strings.HasSuffix(path, "/"+t.Package) {
			continue
		}
		for _, name := range t.names {
			if test, part, ok := strings.Cut(name, "/"); ok {
				parts = append(parts, "^TestRoot"+test+"$/^"+part+"$")
			} else {
				tests = append(tests, "^TestRoot"+name+"$")
			}
		}
	}
	// In this order: go test heeds the first that begins like a name.
	return strings.Join(append(tests, parts...), "|")
}

// Tell lists what is left.
func Tell(out io.Writer, who string, leaves []Tests) {
	for _, t := range leaves {
		fmt.Fprintf(out, "%s: %d tests of %s are left to a machine that is not emulated, because %s\n", who, len(t.names), t.Package, t.Why)
	}
}
