// Package cgroup owns everything fcnode does with cgroup v2: finding out what
// this machine can limit, the private mount in which fcnode works where the
// machine itself uses the old hierarchies, the parent cgroup of all replicas
// with its device filter, and of each replica the cgroup, its limits, what it
// uses, what it waits for, and the reclaim of its memory.
//
// The parent and its filter are made with github.com/containerd/cgroups/v3.
// Limits of replicas are written by this package: one write for each that
// changes, with care where memory shrinks (see Group.Apply). A limit whose
// controller the kernel does not offer in cgroup v2 is left out and reported,
// never a reason not to start: a site runs without a memory limit rather than
// not at all.
//
// The package never writes cgroup.kill. On Linux 6.12.107 and 6.18.44 every
// process that is later born into such a cgroup by CLONE_INTO_CGROUP is killed
// at once, and that is how replicas are born. A replica dies with the init of
// its PID namespace instead.
package cgroup
