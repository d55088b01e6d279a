package scale

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
)

// Sample is what was counted of a replica up to a moment.
type Sample struct {
	at      uint64 // CLOCK_MONOTONIC
	Usage   cgroup.Usage
	Counted uint64 // when the load was read, which may be a little earlier
	Load    bpf.Load
}

// rateWindow is the least time over which counts become rates. A shorter one would
// make noise of them.
const rateWindow = 500 * time.Millisecond

// Meter makes rates of counts: it keeps two samples of each replica, so that
// there is always one that is old enough.
type Meter struct {
	Base, last map[site.ReplicaID]Sample
}

// Add takes new samples, and drops replicas of which there is none.
func (m *Meter) Add(now map[site.ReplicaID]Sample, started func(site.ReplicaID) uint64) {
	base, last := make(map[site.ReplicaID]Sample, len(now)), make(map[site.ReplicaID]Sample, len(now))
	for id, s := range now {
		old, known := m.last[id]
		switch {
		case !known:
			base[id], last[id] = Sample{at: min(started(id), s.at), Counted: min(started(id), s.Counted)}, s
		case s.at-old.at >= uint64(rateWindow):
			base[id], last[id] = old, s
		default:
			base[id], last[id] = m.Base[id], old
		}
	}
	m.Base, m.last = base, last
}

// restart drops what was before these samples: it was counted under other
// limits.
func (m *Meter) restart(now map[site.ReplicaID]Sample) { m.Base, m.last = now, now }

// Over is the time from a replica's base to a sample, in seconds.
func (s Sample) Over(base Sample) float64 {
	return time.Duration(s.at - min(base.at, s.at)).Seconds()
}

// Counting is the same of the load.
func (s Sample) Counting(base Sample) float64 {
	return time.Duration(s.Counted - min(base.Counted, s.Counted)).Seconds()
}

// Rate is what was added a second.
func Rate(now, before uint64, seconds float64) float64 {
	if seconds <= 0 || now < before {
		return 0
	}
	return float64(now-before) / seconds
}

// share is the part of a time that was spent waiting.
func share(now, before time.Duration, seconds float64) float64 {
	if seconds <= 0 || now < before {
		return 0
	}
	return min(1, (now-before).Seconds()/seconds)
}

// Samples reads all replicas of a site that have a container.
func (g *Engine) Samples(l Site, why Cause) map[site.ReplicaID]Sample {
	ids, groups := idsOf(l), map[bpf.ReplicaID]Group{}
	for _, r := range l.Set().Replicas {
		groups[bpf.ReplicaID(r.ID)] = r.Group
	}
	if len(ids) == 0 {
		return nil
	}
	loads, counted, err := g.readLoads(ids, why)
	if err != nil {
		g.Log.Error("cannot read the load of a site", "site", l.Ref.Name(), "error", err)
		return nil
	}
	out := make(map[site.ReplicaID]Sample, len(ids))
	now := bpf.Now()
	for _, id := range ids {
		load, known := loads[id]
		if !known {
			continue // added since then
		}
		usage, err := groups[id].Usage()
		if err != nil {
			g.Log.Debug("cannot read what a replica uses", "site", l.Ref.Name(), "id", id, "error", err)
		}
		out[site.ReplicaID(id)] = Sample{at: now, Load: load, Counted: counted, Usage: usage}
	}
	return out
}

// StartedAt is when a replica was started, in CLOCK_MONOTONIC.
func StartedAt(l Site, id site.ReplicaID) uint64 {
	now := bpf.Now()
	r, ok := find(l, id)
	if !ok {
		return now
	}
	return now - min(now, uint64(max(0, time.Since(r.Started))))
}

// signals puts samples into what the scaler asks for.
func (g *Engine) signals(l Site, now map[site.ReplicaID]Sample) detect.Signals {
	s := l.Scaling()
	sig := detect.Signals{Alarm: s.alarm, Replicas: replicasOf(l)}
	sig.IO = make([]detect.Resource, len(s.Limits.IO))
	var answers bpf.Histogram
	for _, m := range l.Set().Replicas {
		read, ok := now[m.ID]
		if !ok || m.State != site.Ready || m.Spare {
			continue
		}
		base := s.meter.Base[m.ID]
		sig.Conns = append(sig.Conns, read.Load.ConnsNow)
		sig.Arrivals += Rate(read.Load.ConnsTotal, base.Load.ConnsTotal, read.Counting(base))
		if read.Load.AcceptQueue >= sig.AcceptQueue {
			sig.AcceptQueue, sig.AcceptMax = read.Load.AcceptQueue, read.Load.AcceptMax
		}
		answers = answers.Add(read.Load.Latency.Sub(base.Load.Latency))
		worst(&sig.CPU, cpuUse(read, base))
		worst(&sig.Memory, memoryUse(read, base))
		worst(&sig.Pids, pidsUse(read, base))
		for part, use := range ioUse(read, base, &s.Limits) {
			worst(&sig.IO[part], use)
		}
	}
	if count := answers.Count(); count > 0 {
		sig.Latency = detect.Latency{P50: answers.Quantile(0.5), P99: answers.Quantile(0.99), Samples: count}
	}
	s.Limits.show(&sig)
	return sig
}

// show puts the limits into the signals.
func (l *Limits) show(sig *detect.Signals) {
	sig.CPU.Limit, sig.Memory.Limit, sig.Pids.Limit = l.CPU, l.Memory, l.Pids
	for part := range l.IO {
		sig.IO[part].Limit, sig.IO[part].Name = l.IO[part].limit, l.rateName(part)
	}
}

// worst keeps, of each figure, the one of the replica that is worst off.
func worst(all *detect.Resource, one detect.Resource) {
	all.Used, all.Stall, all.Hits = max(all.Used, one.Used), max(all.Stall, one.Stall), max(all.Hits, one.Hits)
}

// Shortest is the least time from which a use of the CPU can be told: a period of
// the kernel's bandwidth control.
const Shortest = 100 * time.Millisecond

func cpuUse(now, base Sample) detect.Resource {
	seconds := now.Over(base)
	if seconds < Shortest.Seconds() || !now.Usage.CPU.Known {
		return detect.Resource{}
	}
	r := detect.Resource{
		Used:  max(0, (now.Usage.CPU.Time-base.Usage.CPU.Time).Seconds()/seconds),
		Stall: share(now.Usage.CPUPressure.Some, base.Usage.CPUPressure.Some, seconds),
	}
	// The kernel counts the periods in which something ran: of a site that does next to nothing one throttled
	// moment would be all of them.
	r.Hits = min(1, Rate(now.Usage.CPU.Throttled, base.Usage.CPU.Throttled, seconds/Shortest.Seconds()))
	return r
}

func memoryUse(now, base Sample) detect.Resource {
	if !now.Usage.Memory.Known {
		return detect.Resource{}
	}
	hits := func(m cgroup.MemoryEvents) uint64 { return m.High + m.Max + m.OOM }
	return detect.Resource{
		Used:  float64(now.Usage.Memory.Current - now.Usage.Memory.Idle),
		Stall: share(now.Usage.MemoryPressure.Some, base.Usage.MemoryPressure.Some, max(now.Over(base), Shortest.Seconds())),
		Hits:  Rate(hits(now.Usage.Memory.MemoryEvents), hits(base.Usage.Memory.MemoryEvents), 1),
	}
}

func pidsUse(now, base Sample) detect.Resource {
	if !now.Usage.Pids.Known {
		return detect.Resource{}
	}
	return detect.Resource{Used: float64(now.Usage.Pids.Current), Hits: Rate(now.Usage.Pids.Refused, base.Usage.Pids.Refused, 1)}
}

// replicasOf counts a site's replicas.
func replicasOf(l Site) detect.Replicas {
	out := detect.Replicas{Min: l.Spec.Scale.Min, Max: l.Spec.Scale.Max, Now: l.Set().Serving}
	for _, m := range l.Set().Replicas {
		switch {
		case m.Spare:
			if m.State == site.Asleep {
				out.Spare++
			}
		case m.State == site.Starting, m.State == site.Resuming:
			out.Starting++
		case m.State == site.Asleep, m.State == site.Draining:
			out.Spare++
		}
	}
	out.Spare += l.Set().Prepared
	return out
}

// serving are the ids of the replicas that get new flows now, in order.
func serving(l Site) []site.ReplicaID {
	var out []site.ReplicaID
	for _, m := range l.Set().Replicas {
		if m.State == site.Ready && !m.Spare {
			out = append(out, m.ID)
		}
	}
	slices.Sort(out)
	return out
}
