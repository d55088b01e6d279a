// Package check finds out whether this machine can run fcnode, and says what to
// do where it cannot.
//
// It owns the list of findings: what is looked at, what each result means for a
// node, and the remedy. It looks at the machine through [Machine], so that
// every finding can be tested without one; [Local] is the real machine. Nothing
// on it is changed: file systems are tried with detached mounts, kinds of links
// in a network namespace that is thrown away at once. What the kernel loads as
// modules for that stays loaded.
package check
