package bpf

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// The kernel's buckets: see FC_LATENCY_… in src/types.h.
const (
	latencyUnit    = 6 // ns are counted in units of 1<<latencyUnit
	latencySub     = 16
	latencySubBits = 4
	latencyBuckets = len(dpFcLatency{}.N)
)

// Histogram is how often each latency was seen. It is log-linear: from 1.024 µs
// to 137 s each power of two has 16 buckets, and a value read from it is the
// middle of its bucket: at most 1/32 (3.2 %) from the true one. Below
// it is at most 32 ns from it; what is longer counts as 137 s.
//
// A Histogram does not change: Add and Sub return others.
type Histogram struct {
	counts []uint64 // up to the highest bucket in use
}

// bucketOf is what the kernel does.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0)) >> latencyUnit
	if v < latencySub {
		return int(v)
	}
	e := bits.Len64(v) - 1
	i := (e-latencySubBits+1)*latencySub + int(v>>(e-latencySubBits))&(latencySub-1)
	return min(i, latencyBuckets-1)
}

// bucketBounds are the shortest latency of a bucket, and that of the next.
func bucketBounds(i int) (from, to time.Duration) {
	if i < latencySub {
		return time.Duration(i) << latencyUnit, time.Duration(i+1) << latencyUnit
	}
	e := i/latencySub - 1
	width := time.Duration(1) << (latencyUnit + e)
	from = time.Duration(latencySub+i%latencySub) * width
	return from, from + width
}

// Count is the number of latencies.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Quantile is the latency that the share q of all (0 to 1) does not exceed: 0
// if there are none.
func (h Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	rank := max(1, uint64(math.Ceil(min(max(q, 0), 1)*float64(total))))
	for i, n := range h.counts {
		if n < rank {
			rank -= n
			continue
		}
		from, to := bucketBounds(i)
		return from + (to-from)/2
	}
	return 0
}

// Above is the number of latencies longer than d, by whole buckets: those in
// d's own do not count.
func (h Histogram) Above(d time.Duration) (n uint64) {
	for i := bucketOf(d) + 1; i < len(h.counts); i++ {
		n += h.counts[i]
	}
	return n
}

// Add is both together, as of two replicas.
func (h Histogram) Add(o Histogram) Histogram {
	return h.each(o, func(a, b uint64) uint64 { return a + b })
}

// Sub is what came after an earlier reading. Where the earlier one has more,
// which is then not one of the same replica, it is zero.
func (h Histogram) Sub(earlier Histogram) Histogram {
	return h.each(earlier, func(a, b uint64) uint64 { return a - min(a, b) })
}

func (h Histogram) each(o Histogram, f func(a, b uint64) uint64) Histogram {
	out := make([]uint64, max(len(h.counts), len(o.counts)))
	for i := range out {
		out[i] = f(at(h.counts, i), at(o.counts, i))
	}
	return trimmed(out)
}

func at(counts []uint64, i int) uint64 {
	if i < len(counts) {
		return counts[i]
	}
	return 0
}

func trimmed(counts []uint64) Histogram {
	n := len(counts)
	for n > 0 && counts[n-1] == 0 {
		n--
	}
	if n == 0 {
		return Histogram{}
	}
	return Histogram{counts: append([]uint64(nil), counts[:n]...)}
}

// LatencyBounds are bounds of the kernel's buckets, two for each power of two, from
// 0.26 ms to 26 s. Buckets between them are whole.
func LatencyBounds() []time.Duration {
	const first, last = 9, 25 // powers of two, in units of the first that has latencySub buckets
	var out []time.Duration
	for e := first; e <= last; e++ {
		for _, i := range []int{e * latencySub, e*latencySub + latencySub/2} {
			from, _ := bucketBounds(i)
			out = append(out, from)
		}
	}
	return out
}

// Below is the number of latencies that are shorter than a bound of a bucket.
func (h Histogram) Below(bound time.Duration) (n uint64) {
	for _, c := range h.counts[:min(bucketOf(bound), len(h.counts))] {
		n += c
	}
	return n
}

// Sum is that of all latencies, each taken for the middle of its bucket.
func (h Histogram) Sum() (sum time.Duration) {
	for i, n := range h.counts {
		from, to := bucketBounds(i)
		sum += time.Duration(n) * (from + (to-from)/2)
	}
	return sum
}

// MarshalJSON is for keeping it.
func (h Histogram) MarshalJSON() ([]byte, error) { return json.Marshal(h.counts) }

// UnmarshalJSON refuses what has more buckets than there are.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var counts []uint64
	if err := json.Unmarshal(b, &counts); err != nil {
		return err
	}
	if len(counts) > latencyBuckets {
		return fmt.Errorf("%d buckets, there are %d", len(counts), latencyBuckets)
	}
	*h = trimmed(counts)
	return nil
}
