// Package store keeps what must survive the daemon and the machine: the sites
// as they were applied, with the addresses and numbers they were given, and
// the counters that may never repeat. One bbolt file; every change is one
// transaction, so that kill -9 at any instant leaves either the old state or
// the new one.
package store
