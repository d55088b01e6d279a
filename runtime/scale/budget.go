package scale

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Budget is what the node has to give to its sites, and who has what of it. As long
// as there is enough for all nobody is bounded by it; then it is divided fairly.
type Budget struct {
	cpu, memory float64 // cores, bytes; 0: not bounded

	mu     sync.Mutex
	claims map[bpf.SiteID]claims
	wanted claims // sums of Want
	io     map[IOKey]*diskPool
	shared time.Time // when those who have more than their share were looked for
}

type claims struct {
	replicas    float64
	cpu, memory detect.Claim
}

func newBudget(cpu, memory float64) *Budget {
	return &Budget{cpu: cpu, memory: memory, claims: map[bpf.SiteID]claims{}, io: map[IOKey]*diskPool{}}
}

// claim notes what a site has, and that it wants more if it is short of it.
func (b *Budget) claim(id bpf.SiteID, l Limits, replicas int, s *spec.Site, short bool) {
	b.put(id, claimsOf(l, replicas, s, short))
	b.putIO(id, l.IO, replicas, float64(s.Limits.CPU.Min), short)
}

func claimsOf(l Limits, replicas int, s *spec.Site, short bool) claims {
	many := float64(max(1, replicas))
	weight := float64(s.Limits.CPU.Min)
	want := func(l detect.Limit) detect.Claim {
		c := detect.Claim{Weight: weight, Min: l.Min * many, Want: l.Now * many}
		if short {
			c.Want = l.Max * many
		}
		return c
	}
	return claims{replicas: many, cpu: want(l.CPU), memory: want(l.Memory)}
}

func (b *Budget) put(id bpf.SiteID, c claims) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(id)
	b.claims[id] = c
	b.wanted.cpu.Want += c.cpu.Want
	b.wanted.memory.Want += c.memory.Want
}

// drop takes out a site that has nothing any more.
func (b *Budget) drop(id bpf.SiteID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(id)
	for _, p := range b.io {
		p.remove(id)
	}
}

func (b *Budget) remove(id bpf.SiteID) {
	old := b.claims[id]
	b.wanted.cpu.Want -= old.cpu.Want
	b.wanted.memory.Want -= old.memory.Want
	delete(b.claims, id)
}

// share is how much each replica of a site may have; 0 means that there is enough
// for all.
func (b *Budget) share(id bpf.SiteID) (cpu, memory float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mine, ok := b.claims[id]
	if !ok {
		return 0, 0
	}
	if b.cpu > 0 && b.wanted.cpu.Want > b.cpu {
		cpu = b.divide(id, b.cpu, func(c claims) detect.Claim { return c.cpu }) / mine.replicas
	}
	if b.memory > 0 && b.wanted.memory.Want > b.memory {
		memory = b.divide(id, b.memory, func(c claims) detect.Claim { return c.memory }) / mine.replicas
	}
	return cpu, memory
}

// sharing gives those who may have more than their share, when there is not enough for
// all; at most once a second, as each of them is to be evaluated.
func (b *Budget) sharing(now time.Time) []bpf.SiteID {
	b.mu.Lock()
	defer b.mu.Unlock()
	enough := (b.cpu == 0 || b.wanted.cpu.Want <= b.cpu) && (b.memory == 0 || b.wanted.memory.Want <= b.memory)
	for _, p := range b.io {
		enough = enough && p.wanted <= p.total
	}
	if enough || now.Sub(b.shared) < time.Second {
		return nil
	}
	b.shared = now
	return slices.Collect(maps.Keys(b.claims))
}

func (b *Budget) divide(id bpf.SiteID, all float64, of func(claims) detect.Claim) float64 {
	list, mine := make([]detect.Claim, 0, len(b.claims)), 0
	for other, c := range b.claims {
		if other == id {
			mine = len(list)
		}
		list = append(list, of(c))
	}
	return detect.FairShare(all, list)[mine]
}

// burst is how much each replica may have when one more starts and wants the most: in the Budget of each limit,
// 0 where there is enough for all. The claim stands until the site is evaluated,
// so that many who wake together share, too.
func (b *Budget) burst(id bpf.SiteID, s *spec.Site) Limits {
	if !s.Limits.Scaled() {
		return Limits{}
	}
	b.mu.Lock()
	before := b.claims[id]
	b.mu.Unlock()
	everything := NewLimits(s.Limits, func(string) bool { return true })
	b.claim(id, everything, int(before.replicas)+1, s, true)
	b.bound(id, &everything)
	return everything
}

// bound notes in the limits of a site what the node can give it at the moment.
func (b *Budget) bound(id bpf.SiteID, l *Limits) {
	l.CPU.Budget, l.Memory.Budget = b.share(id)
	b.boundIO(id, l.IO)
}
