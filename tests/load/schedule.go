package load

import (
	"iter"
	"math/rand/v2"
	"time"
)

// Shape is a rate, in requests a second, over the time since the start.
type Shape func(at time.Duration) float64

// Schedule are the moments at which requests are to be sent, since the start, in order.
type Schedule = iter.Seq[time.Duration]

// Constant rate.
func Constant(rate float64) Shape { return func(time.Duration) float64 { return rate } }

// Step from one rate to another at a moment.
func Step(before, after float64, at time.Duration) Shape {
	return func(now time.Duration) float64 {
		if now < at {
			return before
		}
		return after
	}
}

// Ramp from one rate to another between two moments, in a straight line.
func Ramp(before, after float64, from, to time.Duration) Shape {
	return func(now time.Duration) float64 {
		switch {
		case now < from:
			return before
		case now >= to:
			return after
		}
		return before + (after-before)*float64(now-from)/float64(to-from)
	}
}

// slice is how finely a shape is followed.
const slice = time.Millisecond

// Evenly spaces the requests of a shape, without chance.
func Evenly(s Shape, length time.Duration) Schedule {
	return func(yield func(time.Duration) bool) {
		next := 0.5 // in the middle of its share of the time, so that rounding loses none
		follow(s, length, func() float64 {
			due := next
			next = 1
			return due
		}, yield)
	}
}

// Poisson gives the shape's rate to independent visitors. A seed makes the same
// schedule each time.
func Poisson(s Shape, length time.Duration, seed uint64) Schedule {
	return func(yield func(time.Duration) bool) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		follow(s, length, rnd.ExpFloat64, yield)
	}
}

// follow sends one request each time that the rate has added up to another amount.
func follow(s Shape, length time.Duration, amount func() float64, yield func(time.Duration) bool) {
	due := amount()
	for at := time.Duration(0); at < length; at += slice {
		width := min(slice, length-at)
		gain := max(0, s(at)) * width.Seconds()
		for spent := 0.0; ; {
			if gain-spent < due {
				due -= gain - spent
				break
			}
			spent += due
			if !yield(at + time.Duration(spent/gain*float64(width))) {
				return
			}
			due = amount()
		}
	}
}

// Pages sends size requests for each visitor (the page and what belongs to it), within
// a time; the shape is the rate of requests, as always.
func Pages(s Shape, length time.Duration, size int, within time.Duration, seed uint64) Schedule {
	size = max(1, size)
	visitors := Poisson(func(at time.Duration) float64 { return s(at) / float64(size) }, length, seed)
	return func(yield func(time.Duration) bool) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var pending []time.Duration // sorted; bounded by the visitors within one page's time
		send := func(until time.Duration) bool {
			for len(pending) > 0 && pending[0] <= until {
				if !yield(pending[0]) {
					return false
				}
				pending = pending[1:]
			}
			return true
		}
		for at := range visitors {
			if !send(at) || !yield(at) {
				return
			}
			for range size - 1 {
				pending = insert(pending, at+time.Duration(rnd.Float64()*float64(within)))
			}
		}
		send(length + within)
	}
}

// insert keeps times sorted.
func insert(times []time.Duration, t time.Duration) []time.Duration {
	i := len(times)
	times = append(times, t)
	for ; i > 0 && times[i-1] > t; i-- {
		times[i] = times[i-1]
	}
	times[i] = t
	return times
}
