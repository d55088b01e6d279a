// Package watchdog knows which of the loops hangs that every visitor of every sleeping
// site waits behind.
package watchdog
