package wire

import "fmt"

// Version is of what these processes say to each other and leave in files for each
// other. It goes with every message, and into state.json. Raise it with a change that a process of
// an older one would misunderstand; what is only added, and may be missing, needs no other.
//
// A daemon and the programs it starts are of one version: it keeps hold of those that it found
// at its start. What it only reads files of, monitors of an earlier daemon, may be older or newer.
const Version = 7

// versionShift is where the version is in a message's head, whose lower bits are its size.
const versionShift = 24

// ForeignEnv tells a shim and, by it, a runner the architectures besides the
// machine's own whose programs the container may run, with commas between them.
const ForeignEnv = "FCNODE_FOREIGN"

// VersionEnv tells a shim the version of the daemon that starts it.
const VersionEnv = "FCNODE_WIRE"

// VersionError means that the other process is of another release.
type VersionError struct{ Ours, Theirs int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the programs are of different releases: this one speaks version %d of the protocol between them, the other version %d; "+
		"install fcnode, fcnode-runner, fcnode-shim and fcnode-monitor of one release, and restart the daemon (sites run on)", e.Ours, e.Theirs)
}
