package sleep

import (
	"math"
	"time"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

const (
	gapBuckets = 44 // half octaves from 250 ms to 12 days
	gapFirst   = 250 * time.Millisecond
)

// Gaps is a histogram of how long a site was idle between two visits, by half octaves
// from a quarter of a second to twelve days. Old gaps fade slowly: the newest gap counts
// most. The zero value is ready. 188 bytes a site.
type Gaps struct {
	weight   [gapBuckets]float32
	total    float32
	requests float32
	seen     uint32
}

// gapMemory is the number of gaps after which an old one has lost 63 % of its weight.
const gapMemory = 2000

// Add counts an idle time that has ended. Until there are as many as it remembers all
// count the same; then each new one takes its share of the weight from the old ones.
func (g *Gaps) Add(idle time.Duration) {
	if g.total >= gapMemory {
		for i := range g.weight {
			g.weight[i] *= 1 - 1.0/gapMemory
		}
		g.total *= 1 - 1.0/gapMemory
		g.requests *= 1 - 1.0/gapMemory
	}
	g.weight[gapBucket(idle)]++
	g.total++
	g.seen++
}

// Served counts requests: after one gap often come several.
func (g *Gaps) Served(requests uint64) { g.requests += float32(requests) }

// IdleFor is the idle time after which the site may sleep so that a share of the
// requests finds it asleep: one at the end of each longer gap.
func (g *Gaps) IdleFor(share float64) time.Duration {
	if g.total <= 0 {
		return 0
	}
	perGap := max(1, float64(g.requests)/float64(g.total))
	return g.Quantile(1 - figure.Clamp(share, 0, 1, 0)*perGap)
}

// Count is the number of gaps seen.
func (g *Gaps) Count() int { return int(g.seen) }

func gapBucket(d time.Duration) int {
	if d < gapFirst {
		return 0
	}
	return min(gapBuckets-1, 1+int(2*math.Log2(d.Seconds()/gapFirst.Seconds())))
}

// gapEdge is the lower end of a bucket in seconds.
func gapEdge(i int) float64 {
	if i <= 0 {
		return 0
	}
	return gapFirst.Seconds() * math.Exp2(float64(i-1)/2)
}

// Quantile is the idle time that a share q of the gaps does not exceed: the upper end
// of the bucket, so never too short.
func (g *Gaps) Quantile(q float64) time.Duration {
	if g.total <= 0 {
		return 0
	}
	want := float32(figure.Clamp(q, 0, 1, 1)) * g.total
	var sum float32
	for i, w := range g.weight {
		sum += w
		if w > 0 && sum >= want {
			return figure.Seconds(gapEdge(i + 1))
		}
	}
	return figure.Seconds(gapEdge(gapBuckets))
}

// Residual is how much longer a site stays idle on average that has been idle for t; 0
// if no gap was ever so long.
func (g *Gaps) Residual(t time.Duration) time.Duration {
	var weight, sum float64
	for i, w := range g.weight {
		low, high := gapEdge(i), gapEdge(i+1)
		if high <= t.Seconds() || w == 0 {
			continue
		}
		mid := (max(low, t.Seconds()) + high) / 2
		share := (high - max(low, t.Seconds())) / (high - low)
		weight += float64(w) * share
		sum += float64(w) * share * (mid - t.Seconds())
	}
	if weight == 0 {
		return 0
	}
	return figure.Seconds(sum / weight)
}
