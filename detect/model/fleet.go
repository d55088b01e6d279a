package model

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Fleet is the requests to many sites over a span of time, in seconds. Requests
// that follow each other within quiet are one burst: nothing goes to sleep within one.
type Fleet struct {
	Name   string
	Span   float64
	Sites  int
	Kind   []int32 // of each site: sites of one kind were made of one recorded pattern
	Bursts []Burst // by time

	early []float32
}

// quiet is the shortest pause that ends a burst; the shortest that package sleep counts.
const quiet = 2.0

// Burst is requests without a pause between them.
type Burst struct {
	At, End  float64
	Site     int32
	Requests int32

	lo, hi uint32 // of early: when the requests of its first second came, but for the first
}

// Early are the moments of the burst's requests within its first second, after the first.
func (f *Fleet) Early(b *Burst) []float32 { return f.early[b.lo:b.hi] }

// Requests of all sites.
func (f *Fleet) Requests() (n int) {
	for i := range f.Bursts {
		n += int(f.Bursts[i].Requests)
	}
	return n
}

// fleetMaker collects the requests of one site after the other.
type fleetMaker struct {
	f    Fleet
	open bool
	now  Burst
}

// site begins the next site.
func (m *fleetMaker) site(kind int) {
	m.flush()
	m.f.Sites++
	m.f.Kind = append(m.f.Kind, int32(kind))
}

func (m *fleetMaker) flush() {
	if m.open {
		m.f.Bursts = append(m.f.Bursts, m.now)
	}
	m.open = false
}

// request adds one; a site's come in their order.
func (m *fleetMaker) request(at float64) {
	if m.open && at < m.now.End+quiet {
		m.now.Requests++
		if at < m.now.At+1 {
			m.f.early = append(m.f.early, float32(at-m.now.At))
			m.now.hi++
		}
		m.now.End = max(m.now.End, at)
		return
	}
	m.flush()
	n := uint32(len(m.f.early))
	m.now, m.open = Burst{At: at, End: at, Site: int32(m.f.Sites - 1), Requests: 1, lo: n, hi: n}, true
}

// spread adds n requests at random within a time.
func (m *fleetMaker) spread(rnd *rand.Rand, from, length float64, n int) {
	const dense = 600
	if n > dense {
		// So many are one burst: those of its first second are drawn, the others counted.
		gap := length / float64(n)
		for at := from + rnd.Float64()*gap; n > 1 && at < from+1; at += rnd.ExpFloat64() * gap {
			m.request(at)
			n--
		}
		m.request(from + length/2)
		m.now.Requests += int32(n - 1)
		m.now.End = max(m.now.End, from+length*(1-1/float64(n)))
		return
	}
	times := make([]float64, n)
	for i := range times {
		times[i] = from + rnd.Float64()*length
	}
	slices.Sort(times)
	for _, at := range times {
		m.request(at)
	}
}

// done is the fleet.
func (m *fleetMaker) done() *Fleet {
	m.flush()
	slices.SortFunc(m.f.Bursts, func(a, b Burst) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Site, b.Site)) })
	return &m.f
}
