// Package monitor is what a shim becomes when its container runs: it executes
// fcnode-monitor (src), a small static C program, which stands beside the
// container from then on, whatever happens to the daemon. It has the shim's
// process number and children, so nobody else has to learn anything.
//
// It copies the container's output into the site's log (package logs says how
// that is shared), up to so many bytes and lines a second; ends the container
// when it is asked to end itself, as at shutdown; watches over the memory of a
// restored one until all of it is there; and when init has ended removes the
// cgroup and libcontainer's record and writes exit.json (package wire).
//
// It runs in the cgroup of all monitors, not in that of its container: there it would
// be frozen with the container, dumped with it by CRIU, and killed with it
// (memory.oom.group, cgroup.kill), though it is the one that has to see that end. So
// what it copies is not charged to the site, but bounded.
//
// There is one for each container that is awake or frozen, and so it is small:
// one thread, no heap, no stdio, buffers that are given back when nothing is in
// them. A Go program that does the same takes 870 KiB and seven threads.
package monitor
