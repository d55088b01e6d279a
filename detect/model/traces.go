package model

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Pattern is one recorded series of requests by the minute.
type Pattern struct {
	Name    string
	App     string // what it belongs to, if the trace tells
	Trigger string
	Minutes []MinuteCount
}

// MinuteCount is the requests of a minute, counted from the trace's begin.
type MinuteCount struct{ Minute, Count int }

// Total of the requests.
func (p *Pattern) Total() (n int) {
	for _, m := range p.Minutes {
		n += m.Count
	}
	return n
}

// mostLine bounds a line of a trace.
const mostLine = 1 << 20

func lines(r io.Reader, each func(number int, line string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), mostLine)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := each(n, line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// ReadMinutes reads `minute:count …` lines, before which there may be words that end
// in "|": a name, an application, an owner and a trigger.
func ReadMinutes(r io.Reader) ([]Pattern, error) {
	var out []Pattern
	err := lines(r, func(n int, line string) error {
		p := Pattern{Name: strconv.Itoa(n)}
		if head, rest, ok := strings.Cut(line, "|"); ok {
			if words := strings.Fields(head); len(words) >= 4 {
				p.Name, p.App, p.Trigger = words[0], words[1], words[3]
			} else if len(words) > 0 {
				p.Name = words[0]
			}
			line = rest
		}
		for _, word := range strings.Fields(line) {
			m, c, ok := strings.Cut(word, ":")
			minute, err := strconv.Atoi(m)
			count, err2 := strconv.Atoi(c)
			if !ok || err != nil || err2 != nil || minute < 0 || count < 0 {
				return fmt.Errorf("%q is not minute:count", word)
			}
			if k := len(p.Minutes); k > 0 && p.Minutes[k-1].Minute >= minute {
				return fmt.Errorf("minute %d comes after minute %d", minute, p.Minutes[k-1].Minute)
			}
			p.Minutes = append(p.Minutes, MinuteCount{minute, count})
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// ReadNumbers reads one whole number a line.
func ReadNumbers(r io.Reader) ([]int, error) {
	var out []int
	err := lines(r, func(_ int, line string) error {
		n, err := strconv.Atoi(line)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a count", line)
		}
		out = append(out, n)
		return nil
	})
	return out, err
}

// addPattern plays a pattern as one site, from a phase within the minute that it
// keeps; several requests of a minute come at random within it.
func (m *fleetMaker) addPattern(rnd *rand.Rand, p *Pattern, from, until int) {
	phase := 60 * rnd.Float64()
	for _, c := range p.Minutes {
		if c.Minute < from || c.Minute >= until || c.Count == 0 {
			continue
		}
		at := 60 * float64(c.Minute-from)
		if c.Count == 1 {
			m.request(at + phase)
			continue
		}
		m.spread(rnd, at, 60, c.Count)
	}
}

// PatternFleet plays each pattern as one site.
func PatternFleet(name string, patterns []Pattern, minutes int, seed uint64) *Fleet {
	rnd := rand.New(rand.NewPCG(seed, 31))
	m := fleetMaker{f: Fleet{Name: name, Span: 60 * float64(minutes)}}
	for i := range patterns {
		m.site(i)
		m.addPattern(rnd, &patterns[i], 0, minutes)
	}
	return m.done()
}

// PopularFleet has sites as popular as a list of totals says, each made of the pattern
// whose total is among the nearest.
func PopularFleet(name string, patterns []Pattern, totals []int, sites, minutes int, seed uint64) *Fleet {
	rnd := rand.New(rand.NewPCG(seed, 32))
	type counted struct{ total, index int }
	order := make([]counted, len(patterns))
	for i := range patterns {
		order[i] = counted{patterns[i].Total(), i}
	}
	slices.SortFunc(order, func(a, b counted) int { return cmp.Or(cmp.Compare(a.total, b.total), cmp.Compare(a.index, b.index)) })
	sorted := slices.Sorted(slices.Values(totals))
	m := fleetMaker{f: Fleet{Name: name, Span: 60 * float64(minutes)}}
	const among = 8
	for i := range sites {
		want := sorted[int((float64(i)+rnd.Float64())/float64(sites)*float64(len(sorted)))]
		at, _ := slices.BinarySearchFunc(order, want, func(c counted, w int) int { return cmp.Compare(c.total, w) })
		low := min(max(0, at-among/2), max(0, len(order)-among))
		high := min(len(order), low+among)
		// Whatever has exactly this total is as near.
		for low > 0 && order[low-1].total == want {
			low--
		}
		for high < len(order) && order[high].total == want {
			high++
		}
		k := order[low+rnd.IntN(high-low)].index
		m.site(k)
		m.addPattern(rnd, &patterns[k], 0, minutes)
	}
	return m.done()
}

// ThinnedFleet makes sites of one busy site's requests by the second. A visit begins in
// a block of ten seconds with a chance that is the site's own, between one in 10^low and one
// in 10^high, and is what the busy site was asked for then, and again some pages later:
// people come in visits, and single blocks by chance would be a Poisson process, on which
// no rule is better than another. Each site begins at an hour of its own.
func ThinnedFleet(name string, seconds []int, sites int, low, high float64, seed uint64) *Fleet {
	m := fleetMaker{f: Fleet{Name: name, Span: float64(len(seconds))}}
	for site := range sites {
		rnd := rand.New(rand.NewPCG(seed, uint64(site)+33))
		t := thinner{rnd: rnd, seconds: seconds, shift: rnd.IntN(24) * 3600 % len(seconds)}
		keep := math.Pow(10, -(low + (high-low)*rnd.Float64()))
		m.site(site)
		for i := int(rnd.ExpFloat64() / keep); i < len(seconds)/thinBlock; i += 1 + int(rnd.ExpFloat64()/keep) {
			t.visit(i * thinBlock)
		}
		slices.Sort(t.at)
		for _, at := range t.at {
			m.request(at)
		}
	}
	return m.done()
}

const thinBlock = 10

// thinner makes one site of a busy one.
type thinner struct {
	rnd     *rand.Rand
	seconds []int
	shift   int
	at      []float64
}

// visit looks at some pages, half a minute apart.
func (t *thinner) visit(from int) {
	for more := true; more && from+thinBlock <= len(t.seconds); more = t.rnd.Float64() < 0.6 {
		for s := from; s < from+thinBlock; s++ {
			for range t.seconds[(s+t.shift)%len(t.seconds)] {
				t.at = append(t.at, float64(s)+t.rnd.Float64())
			}
		}
		from += thinBlock + int(20*math.Exp(1.1*t.rnd.NormFloat64()))
	}
}
