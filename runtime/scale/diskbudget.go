package scale

import (
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/spec"
)

// diskPool is what the node has to give of one rate of a disk. Only those have one that the configuration names: what a disk
// can do no kernel knows.
//
// Unlike the budgets of CPU and memory it is never exceeded but by what specs promise. Those may be: cpu.weight and
// reclaim decide who gets what when all want it. Nothing decides it for a disk.
type diskPool struct {
	total  float64
	claims map[bpf.SiteID]ioClaim
	wanted float64 // sum of Want
}

// ioClaim is a claim of a site, and what it could want at most.
type ioClaim struct {
	detect.Claim
	most     float64
	replicas float64
}

func (p *diskPool) remove(id bpf.SiteID) {
	p.wanted -= p.claims[id].Want
	delete(p.claims, id)
	if len(p.claims) == 0 {
		p.wanted = 0 // no error of rounding is left
	}
}

// share is what each replica of a site may have, 0 if there is enough for all, though it wanted the most.
func (p *diskPool) share(id bpf.SiteID) float64 {
	mine, ok := p.claims[id]
	if !ok || p.wanted-mine.Want+mine.most <= p.total {
		return 0
	}
	list, at := make([]detect.Claim, 0, len(p.claims)), 0
	for other, c := range p.claims {
		if other == id {
			at = len(list)
			c.Want = c.most
		}
		list = append(list, c.Claim)
	}
	return max(detect.FairShare(p.total, list)[at]/mine.replicas, 1)
}

// addDisk gives the node's budget of a disk.
func (b *Budget) addDisk(d config.DiskBudget) error {
	disk, err := cgroup.FindDisk(d.Device)
	if err != nil {
		return fmt.Errorf("budget.io of %s: %w", d.Device, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, total := range [len(spec.RateNames)]float64{float64(d.ReadBytes), float64(d.WriteBytes), float64(d.Reads), float64(d.Writes)} {
		if total > 0 {
			b.io[IOKey{disk, k}] = &diskPool{total: total, claims: map[bpf.SiteID]ioClaim{}}
		}
	}
	return nil
}

// putIO notes what a site has of disks, and that it wants more if it is short of something.
func (b *Budget) putIO(id bpf.SiteID, rates []ioRate, replicas int, weight float64, short bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	many := float64(max(1, replicas))
	for key, p := range b.io {
		p.remove(id)
		i := slices.IndexFunc(rates, func(r ioRate) bool { return r.IOKey == key })
		if i < 0 {
			continue
		}
		l := rates[i].limit
		c := ioClaim{detect.Claim{Weight: weight, Min: l.Min * many, Want: l.Now * many}, l.Max * many, many}
		if short {
			c.Want = c.most
		}
		p.claims[id] = c
		p.wanted += c.Want
	}
}

// boundIO notes what the node can give of each rate.
func (b *Budget) boundIO(id bpf.SiteID, rates []ioRate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range rates {
		rates[i].limit.Budget = 0
		if p := b.io[rates[i].IOKey]; p != nil {
			rates[i].limit.Budget = p.share(id)
		}
	}
}
