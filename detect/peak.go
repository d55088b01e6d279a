package detect

import "time"

// peakParts is how many parts a peak's window has: it drops them one by one.
const peakParts = 8

// peak is the largest value of a sliding window, kept in parts of an eighth. The zero
// value is ready.
type peak struct {
	part  [peakParts]float64
	index int64
	since time.Duration // when it began, or was reset
	width time.Duration // of a part; 0: not begun
}

// reset empties the window.
func (p *peak) reset() { *p = peak{} }

// add takes a value into account, and returns the largest of the window and whether
// the window is full.
func (p *peak) add(at, window time.Duration, v float64) (float64, bool) {
	width := max(window/peakParts, 1)
	now := int64(at / width)
	if p.width != width {
		*p = peak{since: at, index: now, width: width}
	}
	for steps := 0; p.index < now; steps++ {
		if steps >= peakParts {
			p.index = now
			break
		}
		p.index++
		p.part[p.index%peakParts] = 0
	}
	slot := ((p.index % peakParts) + peakParts) % peakParts
	p.part[slot] = max(p.part[slot], v)
	var top float64
	for _, x := range p.part {
		top = max(top, x)
	}
	return top, at-p.since >= window
}
