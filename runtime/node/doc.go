// Package node is the daemon: it wires the data path (bpf, netctl), the
// containers, the images and the state on disk to the sites' state machines,
// and answers the API.
//
// A packet's story in this package: loops.go reads it from the kernel's ring,
// machine.go hands it to its site's state machine and carries out what that
// decides, start.go makes the replica, and machine.go releases the packet when
// the kernel says that somebody listens.
//
// Locks: Node.mu guards the tables of sites; each site has a lock of its own
// for its machine and everything it carries. A goroutine may take a site's lock
// while holding none, and Node.mu while holding a site's only by the methods
// that say so. Slow work (starting, stopping) is done without locks and comes
// back as an event.
package node
