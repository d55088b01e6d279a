// Package secret reads what sites are given in files that are root's alone:
// passwords, keys, tokens. What it has read is handed to a replica, in memory, and
// to nobody else; it is never part of an error.
package secret
