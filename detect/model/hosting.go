package model

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Hosting makes the fleet of a web hoster out of what is known of such sites: visitors
// who come by the hour of the day and the week, in visits of several pages of several
// requests; monitors, cron jobs and crawlers that come by the clock; sites that die, that
// begin, and that are linked to from a busy one. It is synthetic.
func Hosting(name string, sites, days int, seed uint64) *Fleet {
	m := fleetMaker{f: Fleet{Name: name, Span: float64(days) * 86400}}
	for s := range sites {
		m.site(s)
		h := host{rnd: rand.New(rand.NewPCG(seed, uint64(s)+41)), span: m.f.Span}
		for _, at := range h.requests() {
			m.request(at)
		}
	}
	return m.done()
}

// Chains makes a fleet in which sites follow each other: the sites of a hoster, of which every second has one behind it
// (a data base, an API) to which nobody else comes, or hardly anybody. How often a visit to the one becomes a visit to the
// other is different for each pair (one in twenty to each), and so is how soon (0.1 s to 2 s in the median). It is synthetic.
func Chains(name string, sites, days int, seed uint64) *Fleet {
	m := fleetMaker{f: Fleet{Name: name, Span: float64(days) * 86400}}
	var front []float64
	for s := range sites {
		m.site(s / 2)
		h := host{rnd: rand.New(rand.NewPCG(seed, uint64(s)+67)), span: m.f.Span}
		var at []float64
		if s%2 == 0 {
			front = h.requests()
			at = front
		} else {
			at = h.behind(front)
		}
		for _, t := range at {
			m.request(t)
		}
	}
	return m.done()
}

// behind are the requests to a site that another one makes, and a few of people.
func (h *host) behind(front []float64) []float64 {
	often := math.Exp(h.rnd.Float64() * math.Log(0.05))
	lag := 0.1 * math.Exp(h.rnd.Float64()*math.Log(20))
	last := math.Inf(-1)
	for _, t := range front {
		if t-last >= quiet && h.rnd.Float64() < often {
			at := t + lag*math.Exp(0.5*h.rnd.NormFloat64())
			for n := 1 + h.rnd.IntN(4); n > 0; n-- {
				h.at = append(h.at, at)
				at += 0.1 * h.rnd.ExpFloat64()
			}
		}
		last = t
	}
	for t := h.rnd.ExpFloat64() * 86400; t < h.span; t += h.rnd.ExpFloat64() * 86400 {
		h.at = append(h.at, t)
	}
	slices.SortFunc(h.at, cmp.Compare[float64])
	for len(h.at) > 0 && h.at[len(h.at)-1] >= h.span {
		h.at = h.at[:len(h.at)-1]
	}
	return h.at
}

// host is one site of it.
type host struct {
	rnd  *rand.Rand
	span float64
	at   []float64
}

// busy is how many visitors come in an hour of the week, of 1 on average: nights are
// quiet, weekends a little.
func busy(at float64) float64 {
	hour := math.Mod(at/3600, 24)
	day := int(at/86400) % 7
	level := 1 + 0.8*math.Sin(2*math.Pi*(hour-9)/24)
	if day >= 5 {
		level *= 0.7
	}
	return level
}

const busiest = 1.8

func (h *host) requests() []float64 {
	r := h.rnd
	// Visits a day: a log-normal with a median of 12; one site in ten has over 200.
	visits := 12 * math.Exp(2.2*r.NormFloat64())
	visits = min(visits, 20_000)
	from, until := 0.0, h.span
	switch x := r.Float64(); {
	case x < 0.1: // it dies
		until = h.span * (0.2 + 0.6*r.Float64())
	case x < 0.15: // it begins
		from = h.span * 0.6 * r.Float64()
	}
	for at := from; ; {
		at += r.ExpFloat64() * 86400 / visits / busiest
		if at >= until {
			break
		}
		if r.Float64()*busiest < busy(at) {
			h.visit(at)
		}
	}
	if r.Float64() < 0.04 { // a crowd, for some hours
		h.crowd(from+(until-from)*r.Float64(), visits)
	}
	if r.Float64() < 0.15 { // a monitor
		h.clock([]float64{60, 300, 300, 900}[r.IntN(4)], 1, from)
	}
	if r.Float64() < 0.2 { // a cron job
		h.clock([]float64{900, 3600, 3600, 21600, 86400}[r.IntN(5)], 2, from)
	}
	for n := r.IntN(4); n > 0; n-- {
		h.crawl(from)
	}
	slices.SortFunc(h.at, cmp.Compare[float64])
	for len(h.at) > 0 && h.at[len(h.at)-1] >= h.span {
		h.at = h.at[:len(h.at)-1]
	}
	return h.at
}

// visit is a visitor who looks at some pages.
func (h *host) visit(at float64) {
	for more := true; more; more = h.rnd.Float64() < 0.6 {
		for n := 1 + int(h.rnd.ExpFloat64()*6); n > 0; n-- {
			h.at = append(h.at, at+h.rnd.ExpFloat64()*0.4)
		}
		at += 20 * math.Exp(1.1*h.rnd.NormFloat64())
	}
}

// crowd is that a busy site links to it.
func (h *host) crowd(at, visits float64) {
	rate := (visits + 100) * 30 / 86400
	for t := 0.0; t < 4*3600; {
		t += h.rnd.ExpFloat64() / rate
		if h.rnd.Float64() < math.Exp(-t/3600) {
			h.visit(at + t)
		}
	}
}

// clock is a client that comes by the clock, with a jitter of a second or two.
func (h *host) clock(every, jitter, from float64) {
	for at := from + h.rnd.Float64()*every; at < h.span; at += every {
		h.at = append(h.at, at+jitter*h.rnd.Float64())
	}
}

// crawl is a crawler that reads the site, a page every few seconds, about once in some days.
func (h *host) crawl(from float64) {
	every := 86400 * (1 + 6*h.rnd.Float64())
	for at := from + h.rnd.Float64()*every; at < h.span; at += every * (0.5 + h.rnd.Float64()) {
		pages := 5 + h.rnd.IntN(60)
		gap := 1 + 9*h.rnd.Float64()
		for p := range pages {
			h.at = append(h.at, at+float64(p)*gap)
		}
	}
}
