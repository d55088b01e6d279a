// Package journal owns the node's events: what was decided about which site,
// when and why. They are appended to JSON-lines files, rotated by size, and the
// newest are kept in memory for those who ask or follow. A line cut short by
// kill -9 is dropped at the next start; sequence numbers go on.
package journal
