//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// left says which tests of a package an emulated machine leaves to the machine it runs on (make test-root), and why. An
// emulated machine takes five to thirty times as long, and much of what the privileged tests test does not depend on the
// kernel. Everything that is not named here runs on each kernel of the rig, new tests too.
//
// `-run` runs whatever it matches, and a machine of KVM runs all. TestLeftExist fails for a name that no test has.
type left struct {
	pkg   string   // the package's folder
	why   string   // ends the sentence "left to the machine itself, because …"
	tests []string // without their "TestRoot"; "Name/sub" is one subtest
	on    []string // the releases that leave them; nil: all
}

// aside are the kernels on both sides of 6.12, which every developer's make test runs: what is rather likely to be the same
// on all of them is tried there, and what differs by age is tried everywhere.
var aside = []string{"bookworm", "sid"}

var allLeft = []left{
	{pkg: "bpf", why: "they are about numbers, sizes and folders, which are the loader's own business", tests: []string{
		"IncompatibleSizesChangeNothing", "PinFolderMustBeOnBPFFS", "ReplicaNumbersAreTakenOnce", "SiteLimits", "MapsOfAnotherLayout",
	}},
	{pkg: "bpf", why: "the programs meet the same packets the same way on each kernel that has verified them", on: aside, tests: []string{
		"HeldWholeUpToTheLimit", "CapPerSite", "OnlyFirstPacketsWake", "HeadersOnTheWay", "NotIP", "MalformedPackets", "FullRingEatsNoCap",
		"RefusedAlsoByAKnownPort", "VIPChangesHands", "FlowsAreSpread", "TurnsInTLS", "SwitchOfMode",
	}},
	{pkg: "netctl", why: "they injure the set-up between steps that SetupAndRemove takes on each kernel", tests: []string{
		"SetupAfterPartialState", "SetupFailsWhole", "SetupRefuses", "SetupWithoutRights", "DaemonIsKilled", "PoolReportsFailure", "PoolSkipsTakenNames",
	}},
	{pkg: "runtime/container", why: "they are about mistakes of users and of images, found before or without the kernel", tests: []string{
		"StartFails", "StartExists", "StartCancelled", "ExitStatus", "ExecFails", "ExecClosed", "User", "Files", "PreparedFails", "DaemonOutput",
	}},
	{pkg: "runtime/container", why: "they are about what daemon, monitor and runner say to each other when one of them dies", tests: []string{
		"AdoptMidStart", "AdoptEnded", "AdoptLost", "MonitorTerminated", "IdleSlotKilled", "StopCancelled", "PreparedDies", "PreparedInitDiesInOpen",
		"PreparedDaemonKilled", "PreparedDaemonKilledInOpen", "PreparedDiscard", "ManagerCloseDiscardsPrepared",
		"DaemonKilledWhileDumping", "DaemonKilledWhileRestoring", "RestoreCancelled", "CheckpointAfterAdoption",
	}},
	{pkg: "runtime/container", why: "that a checkpoint does not fit is seen in its manifest, before CRIU is asked", tests: []string{
		"DamagedCheckpoint", "CheckpointOfAnother", "CheckpointIsUsedOnce",
	}},
	{pkg: "runtime/container", why: "what they ask of the kernel has long been the same", on: aside, tests: []string{
		"RootIsPrivate", "Volumes", "Stop", "StopUnheeded", "ExecTTY", "StartAndExit", "MonitorKilled", "PreparedSealed", "InterruptedDump",
		"DumpFails", "ServerOfMemoryKilled", "Twins", "Preflight", "ClonesAtOnce", "FilesInMemory",
	}},
	{pkg: "runtime/image", why: "a full disk is the same on each kernel", tests: []string{"NoSpace", "ResolveOnFullDisk"}},
	{pkg: "tests/e2e", why: "they are about the daemon's own decisions, its state on disk, its API and its command line", tests: []string{
		"UnchangedSpecChangesNothing", "ApplyIsAllOrNothing", "DryRun", "DeleteWithOpenConnection", "DeleteWhileWaking", "SitesFolder", "AlwaysAwake",
		"CommandLine", "BadSpecIsExplained", "Logs", "ImageThatComesBack", "BackoffHoldsVisitorsOff", "FullDisk", "RefusesToStart",
		"SecondDaemonIsRefused", "KilledDuringApply", "KilledDuringDelete", "SiteThatEndsWhileNoDaemonRuns", "Reboot",
		"StubbornSiteIsParked", "CrashedSiteIsWokenAgain", "PortThatStaysClosedIsRefused", "HoldDeadline", "VisitorWhoGivesUp", "SiteThatDoesNotComeUp",
		"CheckSite", "LadderIsShown", "LadderIsClimbedDown", "NodeWithoutTheMeans", "NotWarmIsNotCheckpointed",
		"DamagedCheckpointStartsCold", "CheckpointIsDroppedWhenItsSiteChanges", "PreparedAreBounded", "PreparedAfterChange", "PreparedDiesAtItsGate",
		"CirculateNextFails", "CirculateApart", "CirculateAhead", "Lifetime", "NewImageCirculates", "ScaleOut", "ScaleInDrains", "ScaleNoise",
		"ScaleUpSaysWhyNot", "NodeChoosesTheLadder", "StartsTakeTurns", "CirculateByHand", "ScaleSurge", "CheckpointsAreBounded",
	}},
	{pkg: "tests/e2e", why: "they try what others there try once in each of many moments, for longer than an emulated machine should", tests: []string{
		"UpdateUnderLoad", "StoppedInOrderUnderLoad", "KilledDuringStop", "KilledIdleDaemon", "CyclesLeaveNothingBehind", "KilledMonitor",
		"CrowdBeyondTheCapIsAnsweredToo", "TwoSitesWakeAtOnce", "ChangeOfAttachment", "LargeBodies", "ManySitesAtOnce", "SitesVisitOthers",
		"VolumesStay", "OneFamilyNode", "OpenConnectionKeepsAwake", "VisitorsAtTheEndOfIdle", "LoopbackListenerIsNotReady", "HybridHost",
		"TeardownWithoutUplink", "VisitorsWhileParking", "VisitorsWhilePreparing", "PreparedAgain", "HandsOnASleepingSite",
		"VisitorsInEachStepOfFreezing", "VisitorsInEachStepOfDumping", "KilledWhileSinking", "KilledWhileItsSiteSleeps", "KilledAtEachStepOfFreezing",
		"KilledWhileCirculating", "DrainingKeepsConnections", "ScaleKilled", "KilledWhileAGateOpens", "KilledDuringARestore",
		"KilledWhileASiteIsThawed",
	}},
	{pkg: "tests/e2e", why: "the processes of these have one user, and are restored on the machine itself too", tests: []string{
		"Apps/go", "Apps/python", "Apps/php", "Apps/node",
	}},
	{pkg: "tests/e2e", why: "they start and stop the same containers as the tests that are run", on: aside, tests: []string{
		"LatePortGetsItsVisitors", "KilledDuringStart", "CheckFindsNothingAmiss", "Exec", "LargeDatagrams", "CirculateUnderLoad",
		"PreparedSiteIsWoken", "Apps", "LoadIsSeen", "ListenerComesBack", "ConnectionOfAnEndedReplicaIsReset",
	}},
	{pkg: "tests/e2e", why: "what they ask of the kernel the tests of runtime/container ask on each kernel", on: aside, tests: []string{
		"CheckpointedSiteIsRestored", "ReclaimedSiteIsThawed", "VisitorsWhileReclaiming",
		"ScaleCPUInPlace", "ScaleMemoryInPlace", "ScaleLimitsSurviveKill", "ScaleBudget",
	}},
}

// skipped is the -test.skip of a package's tests; "" when nothing of it is left.
func skipped(pkg string, o options, a accel) string {
	var patterns []string
	for _, l := range leftOn(o, a) {
		if strings.HasSuffix(pkg, "/"+l.pkg) {
			for _, test := range l.tests {
				patterns = append(patterns, "^TestRoot"+strings.Replace(test, "/", "$/^", 1)+"$")
			}
		}
	}
	return strings.Join(patterns, "|")
}

// leftOn is what a run leaves.
func leftOn(o options, a accel) []left {
	if o.run != allTests || !a.emulated {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(allLeft), func(l left) bool {
		return l.on != nil && !slices.Contains(l.on, o.release)
	})
}

// tellLeft lists what a run leaves.
func tellLeft(out io.Writer, o options, a accel) {
	for _, l := range leftOn(o, a) {
		fmt.Fprintf(out, "vm: %d tests of %s are left to the machine itself, because %s\n", len(l.tests), l.pkg, l.why)
	}
}
