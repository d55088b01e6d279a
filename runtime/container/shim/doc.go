// Package shim is the monitor of one container: the process that stays for as
// long as the container runs, whatever happens to the daemon.
//
// It starts the runner in the replica's cgroup, ahead of any request, and
// adopts the container's init when the runner has made it and gone (it is the
// subreaper of both). It copies the container's output into the site's log,
// waits for its end and writes exit.json. It holds no connection to the daemon,
// so it cannot notice the daemon's death; a runner without a request does
// notice, ends, and takes the waiting shim with it.
//
// One shim is resident per container, so it is small: no libcontainer, no
// logging framework, one OS thread for Go code.
package shim
