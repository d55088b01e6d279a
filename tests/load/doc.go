// Package load sends requests on schedule, whatever the answers do: an open loop, as
// visitors are. A latency is measured from the moment at which the request should have been
// sent, so that a stall counts for everybody who came during it and not only for the one
// who was sent before it ("coordinated omission").
//
// A Schedule says when; Shapes (step, ramp, a flash crowd out of a real trace) make
// schedules; Run sends them. Memory is bounded by the requests in flight, not by their number.
package load
