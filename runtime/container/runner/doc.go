// Package runner is the code of fcnode-runner, the only program of fcnode that
// contains libcontainer. It makes one container, or starts one more process in
// one, and ends.
//
// # What is done ahead
//
// A start that begins with a request and does what `runc run` does costs what
// `runc run` costs. So the runner lets libcontainer begin before there is one:
// libcontainer starts this program again as the container's init, in namespaces
// of its own and in the replica's cgroup. Before it hands over to
// libcontainer.Init, our own code in that process (Gate) prepares what no
// request changes: /proc, /dev and their masks, and the seccomp filter. Then it
// waits.
//
//	serve (this process)               init (Gate, then libcontainer.Init)
//	libcontainer.Start ──clone, nsenter, Go start──▶ /proc, /dev, filter
//	request ─────────────────────────▶ network namespace, /sys, overlay, user, …
//	init.json                          the request's part of the configuration
//	  ◀──── libcontainer's own dialogue ────▶ mounts, pivot_root, capabilities
//	  │                                waits at the exec fifo
//	filter on (FilterOn) ────────────▶ all threads
//	exec fifo ───────────────────────▶ execve
//
// The configuration that libcontainer sends to its init is one JSON document on
// a pipe (named by _LIBCONTAINER_INITPIPE). Gate reads it, replaces what the
// request says, and passes the result on under the same name. That format is
// internal to libcontainer: its version is pinned in go.mod, and the privileged
// tests check from inside of a container that each replaced field has arrived.
//
// # The seccomp filter
//
// Compiling the filter takes libcontainer 3 ms, after everything else. Gate has
// it compiled and loaded ahead, by libcontainer's own code, for one thread that
// does nothing else. When init waits at the exec fifo, that thread synchronises
// the filter to all threads (SECCOMP_FILTER_FLAG_TSYNC), and only if that has
// succeeded is the fifo opened.
//
// # Prepared containers
//
// A request may ask to hold: then all of this is done but the last line, and the
// runner waits for the daemon's word, or the end of its connection. Nothing
// is recorded before that, so that a daemon's death leaves nothing to adopt.
// What waits is kept from huge pages, which would double what it holds.
//
// # Cgroups
//
// libcontainer moves init into its cgroup by writing cgroup.procs, which costs
// an RCU grace period of 5 to 10 ms in the middle of a start. A process that is
// born in the cgroup needs no move: the shim starts the runner there with
// CLONE_INTO_CGROUP, and the container is born there too. So that libcontainer
// leaves the cgroup alone, it runs in its documented mode for callers without
// access to cgroups (Cgroup.Rootless), which the read-only cgroup mount in the
// runner's mount namespace makes true. Limits and the device filter are in
// force already: see runtime/cgroup.
package runner
