//go:build linux

package main

import "strings"

// emulated are the tests of a package that an emulated machine runs; of other packages it runs all. An end-to-end test
// takes it five to ten times as long as this machine, and most of them are about the daemon, not the kernel: here
// are those that depend on the kernel (steering on each way, readiness, refusals, death of the daemon, containers). `-run` chooses others.
var emulated = map[string]string{
	"tests/e2e": "^TestRoot(" + strings.Join([]string{
		"FirstPacketWakes", "DatagramWakes", "OneFamilyListeners", "LatePortGetsItsVisitors",
		"CrowdOnParkedSiteIsOneStart", "VisitorsWhileParking", "IdleSiteIsParkedAndWokenAgain",
		"WhatIsNotThereIsRefusedAtOnce", "SiteThatDoesNotComeUp", "ConnectionOfAnEndedReplicaIsReset",
		"KilledUnderLoad", "KilledDuringStart", "LostFlowsAreFoundAgain", "LargeDatagrams",
		"CheckFindsNothingAmiss", "Exec",
	}, "|") + ")$",
}

// chosen is the -test.run of a package's tests.
func chosen(pkg string, o options) string {
	if o.run != allTests {
		return o.run
	}
	for suffix, run := range emulated {
		if strings.HasSuffix(pkg, suffix) {
			return run
		}
	}
	return o.run
}
