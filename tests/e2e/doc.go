// Package e2e tests a whole node from outside: the daemon's own binary, real containers, real packets.
//
// A test makes a [node] (harness_test.go): a network namespace with an uplink, and in it `fcnode run` with a
// configuration, state, pins and cgroups of its own. It talks to the node as users do (the API, the command
// line) and to its sites as visitors do: from the namespace of an outside client at the other end of the
// uplink, or from the node's own. At its end the node is stopped and torn down, and the test fails if
// anything of it is left.
//
// The site in the containers is this test binary itself (guest_test.go), so tests choose what it does wrong.
//
// Tests wait for what the node announces: readiness by sd_notify, everything else by the event log.
package e2e
