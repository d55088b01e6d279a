package model

import (
	"math"
	"math/rand/v2"

	"github.com/fcnode/fcnode/detect/change"
)

// Stream is what reached a site, by the second: visitors, and the requests that they made.
type Stream struct{ Visitors, Requests []int }

// VisitorStream makes visitors whose requests follow a recorded rate: the trace has no
// addresses, so that the visitors behind its requests are made up. They come at random, at
// the rate of the ten minutes around, and each makes a geometric number of requests of this
// mean within a few seconds, which gives the counts an overdispersion of 2·mean − 1.
func VisitorStream(seconds []int, mean float64, seed uint64) Stream {
	rnd := rand.New(rand.NewPCG(seed, 71))
	const smooth = 600
	s := Stream{make([]int, len(seconds)), make([]int, len(seconds))}
	for from := 0; from < len(seconds); from += smooth {
		until := min(from+smooth, len(seconds))
		sum := 0
		for _, n := range seconds[from:until] {
			sum += n
		}
		s.add(rnd, from, until, float64(sum)/float64(until-from)/mean, mean)
	}
	return s
}

// add lets visitors come at a rate for a time.
func (s *Stream) add(rnd *rand.Rand, from, until int, rate, mean float64) {
	if rate <= 0 {
		return
	}
	for at := float64(from) + rnd.ExpFloat64()/rate; at < float64(until); at += rnd.ExpFloat64() / rate {
		s.Visitors[int(at)]++
		for t := at; ; t += rnd.ExpFloat64() * 0.5 {
			if int(t) < len(s.Requests) {
				s.Requests[int(t)]++
			}
			if rnd.Float64() < 1/mean {
				break
			}
		}
	}
}

// Surge multiplies the visitors for a length from each of the moments on, and leaves s as
// it is.
func (s Stream) Surge(at []int, length int, times, mean float64, seed uint64) Stream {
	out := Stream{append([]int(nil), s.Visitors...), append([]int(nil), s.Requests...)}
	rnd := rand.New(rand.NewPCG(seed, 72))
	for _, from := range at {
		sum := 0
		for _, n := range s.Visitors[max(0, from-600):from] {
			sum += n
		}
		rate := float64(sum) / float64(min(from, 600)) * (times - 1)
		out.add(rnd, from, min(from+length, len(out.Visitors)), rate, mean)
	}
	return out
}

// Watcher sees counts by the second, and says whether it alarms.
type Watcher interface{ Second(count int) bool }

// Watchers are fcnode's test and those it is compared with, made with a threshold that
// trades false alarms for delay.
var Watchers = []struct {
	Name       string
	Make       func(threshold float64) Watcher
	Thresholds []float64
}{
	{"CUSUM (fcnode)", func(h float64) Watcher { return &cusumWatch{normal: change.Normal{ARL0: math.Exp(h), Floor: 0.05}} }, ramp(3, 22, 12)},
	{"BOCPD", func(h float64) Watcher { return newBOCPD(h) }, []float64{0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999}},
	{"Page-Hinkley", func(h float64) Watcher { return &pageHinkley{level: level{h: h}} }, geometric(5, 400, 12)},
	{"EWMA", func(h float64) Watcher { return &ewma{level: level{h: h}} }, ramp(2, 14, 12)},
	{"KPA-like panic", func(h float64) Watcher { return &panicWatch{h: h} }, geometric(1.5, 12, 12)},
}

func ramp(from, to float64, n int) (out []float64) {
	for i := range n {
		out = append(out, from+(to-from)*float64(i)/float64(n-1))
	}
	return out
}

func geometric(from, to float64, n int) (out []float64) {
	for _, v := range ramp(math.Log(from), math.Log(to), n) {
		out = append(out, math.Exp(v))
	}
	return out
}

// cusumWatch is the kernel's integers with the baseline that the node learns.
type cusumWatch struct {
	normal change.Normal
	params change.CusumParams
	state  change.CusumState
	now    uint64
}

func (c *cusumWatch) Second(n int) bool {
	c.now += 1e9
	for i := range n {
		c.state.Arrival(&c.params, c.now+uint64(i)*1e9/uint64(n))
	}
	alarming := c.state.Alarms(&c.params, c.now+1e9) != 0
	c.normal.Observe(float64(n), 1e9, alarming)
	if b, changed := c.normal.Changed(); changed {
		next := b.Params()
		c.state = c.state.Rebase(&c.params, &next, c.now+1e9)
		c.params = next
	}
	return alarming
}

// level is a mean and a variance that are learned while there is no alarm, and after ten
// minutes of one.
type level struct {
	h, mean, variance float64
	seen, alarmed     int
}

const levelMemory = 600.0

func (l *level) learn(n int, alarming bool) {
	if alarming {
		if l.alarmed++; l.alarmed < levelMemory {
			return
		}
	} else {
		l.alarmed = 0
	}
	l.seen++
	a := max(1/levelMemory, 1/float64(l.seen))
	d := float64(n) - l.mean
	l.mean += a * d
	l.variance += a * (d*d - l.variance)
}

func (l *level) known() bool { return l.seen > levelMemory/2 }

// pageHinkley adds up what counts exceed their mean by, less a tolerance.
type pageHinkley struct {
	level
	sum   float64
	alarm bool
}

func (p *pageHinkley) Second(n int) bool {
	if p.known() {
		p.sum = max(0, p.sum+float64(n)-1.5*p.mean)
		p.sum = min(p.sum, p.h)
		p.alarm = p.sum >= p.h || p.alarm && p.sum > p.h/2
	}
	p.learn(n, p.alarm)
	return p.alarm
}

// ewma holds a mean of some ten seconds against the long one.
type ewma struct {
	level
	now   float64
	alarm bool
}

func (e *ewma) Second(n int) bool {
	const a = 0.1
	e.now += a * (float64(n) - e.now)
	sd := math.Sqrt(max(e.variance, 0.05) * a / (2 - a))
	z := (e.now - e.mean) / sd
	e.alarm = e.known() && (z >= e.h || e.alarm && z > e.h/2)
	e.learn(n, e.alarm)
	return e.alarm
}

// panicWatch alarms when the mean of six seconds is so many times that of a minute.
type panicWatch struct {
	h       float64
	last    [60]int
	at      int
	short   int
	long    int
	alarmed int
}

func (p *panicWatch) Second(n int) bool {
	p.long += n - p.last[p.at%60]
	p.short += n - p.last[(p.at+54)%60]
	p.last[p.at%60] = n
	p.at++
	if p.at > 60 && float64(p.short)/6 >= p.h*max(float64(p.long)/60, 0.05) {
		p.alarmed = 60 // it stays in panic for the stable window
	}
	p.alarmed--
	return p.alarmed >= 0
}

// bocpd is Bayesian online change point detection (Adams, MacKay 2007) on counts of five
// seconds: Gamma-Poisson, a hazard of one change an hour, run lengths up to five minutes.
type bocpd struct {
	h           float64
	chance      []float64
	shape, span []float64
	bin, in     int
	alarm       bool
	rate        float64
}

const (
	bocpdBin  = 5
	bocpdLong = 60
	bocpdSoon = 6 // run lengths that are a change just now
)

func newBOCPD(h float64) *bocpd {
	return &bocpd{h: h, chance: []float64{1}, shape: []float64{1}, span: []float64{1}}
}

func (b *bocpd) Second(count int) bool {
	b.bin += count
	if b.in++; b.in < bocpdBin {
		return b.alarm
	}
	n, x := b.bin, float64(b.bin)
	b.bin, b.in = 0, 0
	const hazard = bocpdBin / 3600.0
	k := len(b.chance)
	grown := make([]float64, k+1)
	for i, c := range b.chance {
		p := predicted(n, b.shape[i], b.span[i])
		grown[i+1] = c * p * (1 - hazard)
		grown[0] += c * p * hazard
	}
	shape, span := []float64{0.5 * (1 + b.rate)}, []float64{0.5}
	for i := range k {
		shape, span = append(shape, b.shape[i]+x), append(span, b.span[i]+1)
	}
	if len(grown) > bocpdLong {
		grown[bocpdLong-1] += grown[bocpdLong]
		grown, shape, span = grown[:bocpdLong], shape[:bocpdLong], span[:bocpdLong]
	}
	var total, soon, up float64
	for _, c := range grown {
		total += c
	}
	for i := range grown {
		if grown[i] /= total; i < bocpdSoon {
			soon += grown[i]
			up += grown[i] * shape[i] / span[i]
		}
	}
	b.chance, b.shape, b.span = grown, shape, span
	b.alarm = soon >= b.h && up/soon > 1.5*b.rate && b.rate > 0
	if !b.alarm {
		b.rate += (x - b.rate) / 120
	}
	return b.alarm
}

// predicted is the chance of a count of which a Gamma posterior is known: a negative
// binomial.
func predicted(n int, shape, span float64) float64 {
	p := math.Exp(shape*math.Log(span/(span+1)) - float64(n)*math.Log(span+1))
	for k := range n {
		p *= (shape + float64(k)) / float64(k+1)
	}
	return max(p, math.SmallestNonzeroFloat64)
}

// Alarms counts how often a watcher begins to alarm.
func Alarms(w Watcher, counts []int) (n int) {
	before := false
	for _, c := range counts {
		now := w.Second(c)
		if now && !before {
			n++
		}
		before = now
	}
	return n
}

// Delays are the seconds from each surge to its alarm; a surge that is not seen while it
// lasts counts its length. One that comes while an alarm lasts is left out.
func Delays(w Watcher, counts, at []int, length int) (out []float64) {
	k, open, before := 0, false, false
	for i, c := range counts {
		now := w.Second(c)
		if k < len(at) && i == at[k] {
			open = !before
			k++
		}
		if open && (now || i == at[k-1]+length) {
			out = append(out, float64(min(i+1-at[k-1], length)))
			open = false
		}
		before = now
	}
	return out
}
