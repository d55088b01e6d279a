// Package container starts, stops and adopts the containers of sites. It is the
// daemon's side: it contains no libcontainer, which lives in the fcnode-runner
// program (package runner), and it is not needed for a container to go on: a
// monitor per container stays with it (package monitor), which a shim becomes when
// the container runs (package shim).
//
//	daemon ──▶ fcnode-shim ──▶ fcnode-runner ──▶ init
//	  │            │ cgroup: the daemon's    │ cgroup: the replica's
//	  └── socket ──┼─────────────────────────┘ ends when the program runs
//	               └─▶ becomes fcnode-monitor: waits, copies output, writes exit.json
//
// A pair of shim and runner is started ahead of any request, in a fresh cgroup,
// so that a start pays for neither. What a request needs goes to the runner over
// a socket. A runner without a request ends when the daemon's end is closed.
//
// A container that is restored from a checkpoint (Restore, package criu) has CRIU
// in the place of runner and init's parent: the shim starts it ahead too, in the
// replica's cgroup and in namespaces of its own, makes the mounts there when the
// request comes, and records for libcontainer what a runner would have.
//
//	daemon ──▶ fcnode-shim ──▶ criu swrk ──▶ (sibling of criu) init
//	                       └─▶ criu lazy-pages, while memory is missing
//
// What must outlive the daemon is in files below <run dir>/replicas/<id>/ (see
// package wire): state.json names the shim before the runner is asked to start
// anything, so that no instant exists in which a daemon that dies leaves a
// container that its successor does not find. Processes are named by number and
// start time and held by pidfd.
package container
