// Package probe asks a replica, from inside of its namespaces, whether it can
// serve: the probes `ready` and `health` of a site's spec. What it asks is the
// tenant's, so no answer is believed to be small, quick or well-formed, and no path
// leads out of the replica's own files.
package probe
