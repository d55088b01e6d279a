// Package change sees that the load of a site has changed: Cusum and its integers
// for the kernel (CusumParams), and Normal, which learns what load is usual. The
// formulas and where they come from are in docs/detection.md.
package change
