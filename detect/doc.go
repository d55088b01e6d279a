// Package detect decides: signals go in, decisions come out, each with its
// reason in words and the figures it rests on. It has no I/O, no clock of its own and no
// goroutines, and knows none of fcnode's other packages: time comes in as a duration
// since any fixed instant (the node uses the monotonic clock), so that
// every rule can be replayed on a recorded day, and two rules on the same one.
//
//   - Has the load changed? Cusum, CusumParams (what the kernel computes), Rate.
//   - What to do about it? Scaler; KPA and Averages are the rules it is compared with.
//   - How much may it have? LimitsPolicy, FairShare.
//   - How deep may it sleep, and when? Ladder, IdleTimeout, IdleControl, Gaps.
//
// The formulas and where they come from are in docs/detection.md.
package detect
