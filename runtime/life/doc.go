// Package life is the hands of the sites: it starts and stops replicas, puts them
// to sleep and wakes them, prepares, checkpoints and restores them, and carries out
// what each site's machine (package site) decides.
//
// A Site is guarded by a lock that is a value: Site.With gives a *Live for the time
// of a call, and nothing else does. Slow work is done without it, in the background,
// and comes back as an event of the machine.
package life
