package sleep

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Buckets is how many classes of pauses are told apart: quarter octaves from
// two seconds to 24 days, and one for what is longer.
const Buckets = 81

// shortest is the shortest pause that counts. What is shorter belongs to the
// activity around it, and nothing goes to sleep within it.
const shortest = 2.0

// edges are the lower ends of the buckets in seconds; the last one closes the
// longest bucket, so that its pauses have a length to reckon with.
var edges = func() (e [Buckets + 1]float64) {
	for i := range e {
		e[i] = shortest * math.Exp2(float64(i)/4)
	}
	return e
}()

// Bucket is the class of a pause, or -1 for one that does not count.
func Bucket(pause time.Duration) int {
	s := pause.Seconds()
	if s < shortest {
		return -1
	}
	return bucketOf(s)
}

func bucketOf(s float64) int {
	b := min(max(0, int(4*math.Log2(s/shortest))), Buckets-1)
	// The logarithm rounds; the edges decide.
	for b > 0 && s < edges[b] {
		b--
	}
	for b < Buckets-1 && s >= edges[b+1] {
		b++
	}
	return b
}

// Edge is the shortest pause of a bucket.
func Edge(bucket int) time.Duration {
	return time.Duration(edges[min(max(0, bucket), Buckets-1)] * 1e9)
}

// Pauses counts how long a site was idle between two visits. When a count is
// full all are halved, so that old ones fade.
type Pauses [Buckets]uint8

// Add counts a pause that has ended, and reports whether it was one.
func (p *Pauses) Add(pause time.Duration) bool {
	b := Bucket(pause)
	if b < 0 {
		return false
	}
	if p[b] == math.MaxUint8 {
		for i := range p {
			p[i] /= 2
		}
	}
	p[b]++
	return true
}

// Count is how many pauses it remembers.
func (p *Pauses) Count() (n int) {
	for _, c := range p {
		n += int(c)
	}
	return n
}

// Quantile is the pause that a share of the counted ones does not exceed, to a fifth
// of its length; 0 if there is none.
func (p *Pauses) Quantile(share float64) time.Duration {
	want := share * float64(p.Count())
	sum := 0.0
	for b, c := range p {
		if sum += float64(c); c > 0 && sum >= want {
			return time.Duration(math.Sqrt(edges[b]*edges[b+1]) * 1e9)
		}
	}
	return 0
}

// Pool is the histogram of all sites of a node: what is known of a site of
// which nothing is known. The zero value is ready.
type Pool struct {
	weight [Buckets]float64
	total  float64
}

// poolMemory is the weight after which an old pause has lost 63 % of its own.
const poolMemory = 5000

// Add counts a pause of a site that has seen so many before. A site's pauses
// weigh less the more of them there are, or the busiest sites, which need no
// prior, would be all that it knows.
func (p *Pool) Add(pause time.Duration, seen int) {
	b := Bucket(pause)
	if b < 0 {
		return
	}
	w := 1 / float64(1+max(0, seen))
	if p.total > poolMemory {
		keep := 1 - w/poolMemory
		for i := range p.weight {
			p.weight[i] *= keep
		}
		p.total *= keep
	}
	p.weight[b] += w
	p.total += w
}

// ErrPool says that bytes are no pool.
var ErrPool = errors.New("not the pauses of a node")

// MarshalJSON implements json.Marshaler: the weights of the buckets.
func (p *Pool) MarshalJSON() ([]byte, error) { return json.Marshal(p.weight[:]) }

// UnmarshalJSON implements json.Unmarshaler. What cannot be a pool leaves p as it is.
func (p *Pool) UnmarshalJSON(b []byte) error {
	var weight []float64
	if err := json.Unmarshal(b, &weight); err != nil {
		return fmt.Errorf("%w: %w", ErrPool, err)
	}
	if len(weight) != Buckets {
		return fmt.Errorf("%w: it has %d buckets, not %d", ErrPool, len(weight), Buckets)
	}
	var out Pool
	for i, w := range weight {
		if !(w >= 0 && w <= 2*poolMemory) {
			return fmt.Errorf("%w: %v pauses in a bucket", ErrPool, w)
		}
		out.weight[i] = w
		out.total += w
	}
	*p = out
	return nil
}

// poolPrior is how many pauses the pool's own prior weighs: without any
// knowledge each octave is as likely as another.
const poolPrior = 4.0

// share is the part of the pauses that belongs to a bucket.
func (p *Pool) share(b int) float64 {
	return (p.weight[b] + poolPrior/Buckets) / (p.total + poolPrior)
}
