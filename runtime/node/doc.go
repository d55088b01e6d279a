// Package node is the daemon: it opens what all else stands on, recovers what an
// earlier daemon has left, answers the API and shuts down.
//
// A packet's story: loops.go reads it from the kernel's ring; package life hands it
// to its site's machine and carries out what that decides, makes the replica, and
// releases the packet when the kernel says that somebody listens.
package node
