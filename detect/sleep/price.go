package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// Bounds of the price of a second of a visitor's waiting, and where it begins.
const (
	minVisit   = 1.0
	maxVisit   = 1e6
	firstVisit = 600.0
)

// How fast the price moves. A step is 1 late request in excess; so many make it
// e times as dear. At the beginning the price is anybody's guess, and steps are
// large; later they are as large as a day's requests allow, so that the price follows
// the weeks and not each night: what follows a night closely pays with its memory.
const (
	priceStep  = 0.002 // never more a request
	priceBegin = 5.0   // of the requests seen by then
	priceDay   = 30.0  // of a day's requests
	priceSoon  = 1000  // requests, before which nothing can be said
)

// Price steers what a visitor's time is worth for all sites of a class, so that
// the share of its requests that are late is the one asked for:
//
//	ln V += η·(1{late} − ε)/ε  with each request
//
// One price for the class, not a share for each site: a site with ten visits a day
// can hold "one in a hundred" only by staying awake. The zero value is ready.
type Price struct {
	V    float64 `json:"v"`    // 0: it has not begun
	Seen float64 `json:"seen"` // requests, ever
	Day  float64 `json:"day"`  // requests lately, and the part of a day in which they came
	Part float64 `json:"part"`
}

// Visit is the price of a second of a visitor's waiting.
func (p *Price) Visit() float64 {
	if !(p.V > 0) {
		return firstVisit
	}
	return min(max(p.V, minVisit), maxVisit)
}

// step is η.
func (p *Price) step() float64 {
	perDay := p.Day / max(p.Part, 1.0/24)
	return min(priceStep, max(priceBegin/(p.Seen+priceSoon), priceDay/max(perDay, 1)))
}

// Observe takes requests into account that came within a time since the last ones,
// so many of which were late, in a class that allows a share. While memory is the
// bound (a budget is met) the price does not rise: it could buy nothing, and would be
// wrong for long when there is memory again.
func (p *Price) Observe(since time.Duration, requests, late uint64, share float64, bound bool) {
	share = figure.Clamp(share, 1e-6, 1, 1)
	days := max(0, since).Hours() / 24
	keep := math.Exp(-days)
	p.Day = figure.Positive(p.Day)*keep + float64(requests)
	p.Part = figure.Positive(p.Part)*keep + (1 - keep)
	p.Seen = figure.Positive(p.Seen) + float64(requests)
	step := p.step() * (float64(min(late, requests))/share - float64(requests))
	if bound {
		step = min(step, 0)
	}
	p.V = min(max(p.Visit()*math.Exp(step), minVisit), maxVisit)
}
