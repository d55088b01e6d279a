// Package eventlog owns the node's events on disk: what was decided about which
// site, when and why. They are appended to JSON-lines files, rotated by size, and
// the newest are kept in memory for readers and followers. A line that kill -9 cut
// short is dropped at the next start; sequence numbers go on.
package eventlog
