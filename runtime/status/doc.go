// Package status owns what users see of a node: views of its sites, and metrics.
// Nothing is counted for it: values are read when they are asked for.
package status
