// Package shim is the first life of a container's monitor: the process that
// waits, ahead of any request, for a container to come about, and is the parent
// of its init.
//
// It starts the runner in the replica's cgroup and adopts the container's init
// when the runner has made it and gone (it is the subreaper of both), or has CRIU
// restore one. When the container runs it becomes that which stays for as long as
// the container does, whatever happens to the daemon: package monitor. It holds no
// connection to the daemon, so it cannot notice the daemon's death; a runner
// without a request does notice, ends, and takes the waiting shim with it.
//
// What a container has written by then is in its pipes; the monitor reads it. Only
// where there will be none the shim does.
package shim
