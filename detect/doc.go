// Package detect decides: signals go in, decisions come out, each with its
// reason in words and the figures it rests on. It has no I/O, no clock of its own and no
// goroutines, and knows none of fcnode's other packages: time comes in as a duration
// since any fixed instant (the node uses the monotonic clock), so that
// every rule can be replayed on a recorded day, and two rules on the same one.
//
// This package has the words that all of them use (Tier, Signals, Resource,
// Decision, Evidence) and Scaler, which decides how much a site may have. The
// other questions have rooms of their own:
//
//   - change: has the load changed? Cusum, CusumParams (what the kernel
//     computes), Rate.
//   - sleep: how deep may a site sleep, and when?
//   - model: the same on paper, with the rules that fcnode's are compared with.
//
// The formulas and where they come from are in docs/detection.md.
package detect
