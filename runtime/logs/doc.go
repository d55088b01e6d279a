// Package logs owns the output of sites on disk: the line format, a writer that
// the monitors of replicas use, and a reader for `fcnode logs`.
//
// A site has one log, <dir>/output.log, however many replicas it has; older
// parts are output.log.1 (the newest of them), output.log.2 and so on. Several
// monitors append to it at once: each append is one write(2) of whole lines to
// a file opened with O_APPEND, and rotation is done under a lock on
// <dir>/.lock by whoever finds the file full. No monitor needs to know another,
// and none holds the lock while it appends.
//
// A line is in the format of the Kubernetes container runtime interface:
//
//	2026-11-22T10:31:07.482000000Z stdout F text
//
// The third field is F for a whole line and P for a part of one that is longer
// than MaxLine. The replica that wrote the line follows it as a second tag, as
// the format allows: F:blog-12.
package logs
