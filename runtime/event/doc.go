// Package event owns the words for what happens on a node: the kinds of events,
// the event itself and the trace of a wake. It has no I/O: package eventlog keeps
// events on disk. docs/events.md is generated from the table of kinds.
package event
