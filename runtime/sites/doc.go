// Package sites owns the table of a node's sites: their names, domains and
// addresses, and how the table changes: plan, commit, delete, and the folder of
// specs. Apply is the one door.
package sites
