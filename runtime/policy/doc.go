// Package policy owns the choice of tiers: what a node can do, what a site's wakes
// have cost, and the ladder that follows from both and from the spec.
package policy
