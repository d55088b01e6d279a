// Package stage sets up a whole node and an outside client in throw-away
// namespaces: for the demo and for the benches.
//
//	client's namespace                     the process' own network and mount namespace
//	  eth0 198.51.100.2 ═══ cable ═══ uplink0 198.51.100.1   fcnode run   fc0   replicas
//
// More machines can be put beside it. Everything lies in one folder, on a tmpfs that only the process' mount
// namespace has. What the stage makes ends with the last process inside, but
// for the cgroups, which Close removes.
package stage
