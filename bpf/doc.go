// Package bpf owns the programs that run in the kernel and the maps they
// share with the daemon: their C sources (src/), the committed objects and
// bindings, loading, pinning, attaching and the probing of kernel features.
//
// The maps and links are pinned, so that packets keep flowing while no daemon
// runs; the next daemon adopts the maps as they are and swaps the programs in
// place. The package knows nothing of containers or of policy: it stores what
// it is told (listeners, sites, replicas) and hands on what it hears (held
// packets, readiness, connections).
package bpf
