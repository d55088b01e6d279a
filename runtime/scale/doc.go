// Package scale owns the scaling of live sites: what the kernel is asked to watch,
// the evaluation of a site's load, and the limits, budgets and numbers of replicas
// that follow. It sees a site by the interface Site, and keeps its state there.
package scale
