// Package runner is the code of fcnode-runner, the only program of fcnode that
// contains libcontainer. It makes one container, or starts one more process in
// one, and ends.
//
// It is born in the replica's cgroup and in a mount namespace of its own, long
// before there is a request, and prepares all that does not depend on one. On a
// request it mounts the root file system, makes the configuration, and lets
// libcontainer do what `runc create` and `runc start` do. When the container's
// program runs, the runner answers the daemon and ends; its parent, the shim,
// inherits the container's init.
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
