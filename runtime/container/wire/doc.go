// Package wire is what the processes of one container say to each other: the
// daemon, the runner (which makes the container with libcontainer and is gone
// once it runs) and the shim (which stays as its monitor). It holds the
// messages, their framing with file descriptors, and the files under
// <run dir>/replicas/<id>/ that outlive any of them:
//
//	state.json  written by the daemon before it asks for a start
//	init.json   written by the runner on the request: which process init is,
//	            long before it can execute the site's own program
//	exit.json   written by the shim when it is over, whatever came of it
//
// It imports neither libcontainer nor anything heavy, as the shim is resident
// once per container.
package wire
