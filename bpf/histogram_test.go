package bpf

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Each latency lies in its bucket, buckets follow one another without gaps, and
// the middle of one is within the stated error of all in it.
func TestLatencyBuckets(t *testing.T) {
	var end time.Duration
	for i := range latencyBuckets {
		from, to := bucketBounds(i)
		if from != end || bucketOf(from) != i || bucketOf(to-1) != i {
			t.Fatalf("bucket %d is %v to %v, the one before ends at %v; %v are in %d, %v in %d",
				i, from, to, end, from, bucketOf(from), to-1, bucketOf(to-1))
		}
		end = to
		middle := from + (to-from)/2
		worst := max(float64(middle-from), float64(to-1-middle))
		if from >= 1024 && worst/float64(from) > 1.0/32 || worst > 32 && from < 1024 {
			t.Errorf("bucket %d, %v to %v: %v is up to %v ns from the truth", i, from, to, middle, worst)
		}
	}
	if end < 137*time.Second {
		t.Errorf("the last bucket ends at %v", end)
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, time.Hour: latencyBuckets - 1, math.MaxInt64: latencyBuckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

func histogramOf(all ...time.Duration) Histogram {
	counts := make([]uint64, latencyBuckets)
	for _, d := range all {
		counts[bucketOf(d)]++
	}
	return trimmed(counts)
}

func TestHistogramQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 5000 {
		all = append(all, time.Duration(math.Exp(r.Float64()*14+8)))
	}
	h := histogramOf(all...)
	slices.Sort(all)
	for _, q := range []float64{-1, 0, 0.001, 0.5, 0.9, 0.99, 0.999, 1, 2} {
		want := all[max(0, int(math.Ceil(min(max(q, 0), 1)*float64(len(all))))-1)]
		if got := h.Quantile(q); math.Abs(float64(got-want)) > float64(want)/32+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if got := (Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
}

func TestHistogramArithmetic(t *testing.T) {
	early, late := histogramOf(time.Millisecond, time.Second), histogramOf(time.Millisecond, time.Millisecond, time.Minute, time.Second)
	since := late.Sub(early)
	if since.Count() != 2 || bucketOf(since.Quantile(0)) != bucketOf(time.Millisecond) || bucketOf(since.Quantile(1)) != bucketOf(time.Minute) {
		t.Errorf("the difference has %d, from %v to %v", since.Count(), since.Quantile(0), since.Quantile(1))
	}
	if again := since.Add(early); !slices.Equal(again.counts, late.counts) {
		t.Errorf("added again: %v, want %v", again, late)
	}
	if other := early.Sub(late); other.Count() != 0 || other.counts != nil {
		t.Errorf("another replica's earlier reading: %v", other)
	}
	if got := late.Above(time.Millisecond); got != 2 {
		t.Errorf("%d are longer than 1 ms, want 2", got)
	}
	if got := late.Above(time.Hour); got != 0 {
		t.Errorf("%d are longer than an hour, want none", got)
	}
}

// What is put on record and read again is the same, counts below bounds add up, and a damaged record is refused.
func TestHistogramIsKept(t *testing.T) {
	h := histogramOf(time.Microsecond, time.Millisecond, time.Millisecond, time.Second, time.Minute)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var got Histogram
	if err := json.Unmarshal(b, &got); err != nil || !slices.Equal(got.counts, h.counts) {
		t.Errorf("%v became %v: %v", h, got, err)
	}
	long, _ := json.Marshal(make([]uint64, latencyBuckets+1)) // numbers
	if err := json.Unmarshal(long, &got); err == nil {
		t.Error("too many buckets are taken")
	}
	bounds := LatencyBounds()
	if first, last := h.Below(bounds[0]), h.Below(bounds[len(bounds)-1]); first != 1 || last != 4 || !slices.IsSorted(bounds) {
		t.Errorf("below %v are %d, below %v are %d", bounds[0], first, bounds[len(bounds)-1], last)
	}
	for _, b := range bounds {
		if from, _ := bucketBounds(bucketOf(b)); from != b {
			t.Errorf("%v is no bound of a bucket", b)
		}
	}
	want := time.Minute + time.Second + 2*time.Millisecond
	if sum := h.Sum(); sum < want-want/32 || sum > want+want/32 {
		t.Errorf("the sum is %v, want %v", sum, want)
	}
}
