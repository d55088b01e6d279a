package node

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
)

// sample is what was counted of a replica up to a moment.
type sample struct {
	at      uint64 // CLOCK_MONOTONIC
	usage   cgroup.Usage
	counted uint64 // when the load was read, which may be a little earlier
	load    bpf.Load
}

// rateWindow is the least time over which counts become rates. A shorter one would
// make noise of them.
const rateWindow = 500 * time.Millisecond

// meter makes rates of counts: it keeps two samples of each replica, so that
// there is always one that is old enough.
type meter struct {
	base, last map[site.ReplicaID]sample
}

// add takes new samples, and forgets replicas of which there is none.
func (m *meter) add(now map[site.ReplicaID]sample, started func(site.ReplicaID) uint64) {
	base, last := make(map[site.ReplicaID]sample, len(now)), make(map[site.ReplicaID]sample, len(now))
	for id, s := range now {
		old, known := m.last[id]
		switch {
		case !known:
			base[id], last[id] = sample{at: min(started(id), s.at), counted: min(started(id), s.counted)}, s
		case s.at-old.at >= uint64(rateWindow):
			base[id], last[id] = old, s
		default:
			base[id], last[id] = m.base[id], old
		}
	}
	m.base, m.last = base, last
}

// restart forgets what was before these samples: it was counted under other
// limits.
func (m *meter) restart(now map[site.ReplicaID]sample) { m.base, m.last = now, now }

// over is the time from a replica's base to a sample, in seconds.
func (s sample) over(base sample) float64 {
	return time.Duration(s.at - min(base.at, s.at)).Seconds()
}

// counting is the same of the load.
func (s sample) counting(base sample) float64 {
	return time.Duration(s.counted - min(base.counted, s.counted)).Seconds()
}

// rate is what was added a second.
func rate(now, before uint64, seconds float64) float64 {
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

// samples reads all replicas of a site that have a container. The caller holds
// e.mu.
func (n *Node) samples(e *entry, why cause) map[site.ReplicaID]sample {
	ids := idsOf(e)
	if len(ids) == 0 {
		return nil
	}
	loads, counted, err := n.readLoads(ids, why)
	if err != nil {
		n.log.Error("cannot read the load of a site", "site", e.name, "error", err)
		return nil
	}
	out := make(map[site.ReplicaID]sample, len(ids))
	now := bpf.Now()
	for _, id := range ids {
		load, known := loads[id]
		if !known {
			continue // added since then
		}
		usage, err := e.active.replicas[site.ReplicaID(id)].ctr.Group().Usage()
		if err != nil {
			n.log.Debug("cannot read what a replica uses", "site", e.name, "replica", id, "error", err)
		}
		out[site.ReplicaID(id)] = sample{at: now, load: load, counted: counted, usage: usage}
	}
	return out
}

// startedAt is when a replica was started, in CLOCK_MONOTONIC. The caller holds
// e.mu.
func (e *entry) startedAt(id site.ReplicaID) uint64 {
	now := bpf.Now()
	r := e.active.replicas[id]
	if r == nil {
		return now
	}
	return now - min(now, uint64(max(0, time.Since(r.started))))
}

// signals puts samples into what the scaler asks for. The caller holds e.mu.
func (n *Node) signals(e *entry, now map[site.ReplicaID]sample) detect.Signals {
	s := e.active.scaling
	sig := detect.Signals{Alarm: s.alarm, Replicas: replicasOf(e)}
	sig.IO = make([]detect.Resource, len(s.limits.io))
	var answers bpf.Histogram
	for _, m := range e.active.machine.Replicas() {
		read, ok := now[m.ID]
		if !ok || m.State != site.Ready || m.Spare() {
			continue
		}
		base := s.meter.base[m.ID]
		sig.Conns = append(sig.Conns, read.load.ConnsNow)
		sig.Arrivals += rate(read.load.ConnsTotal, base.load.ConnsTotal, read.counting(base))
		if read.load.AcceptQueue >= sig.AcceptQueue {
			sig.AcceptQueue, sig.AcceptMax = read.load.AcceptQueue, read.load.AcceptMax
		}
		answers = answers.Add(read.load.Latency.Sub(base.load.Latency))
		worst(&sig.CPU, cpuUse(read, base))
		worst(&sig.Memory, memoryUse(read, base))
		worst(&sig.Pids, pidsUse(read, base))
		for part, use := range ioUse(read, base, &s.limits) {
			worst(&sig.IO[part], use)
		}
	}
	if count := answers.Count(); count > 0 {
		sig.Latency = detect.Latency{P50: answers.Quantile(0.5), P99: answers.Quantile(0.99), Samples: count}
	}
	s.limits.show(&sig)
	return sig
}

// show puts the limits into the signals.
func (l *siteLimits) show(sig *detect.Signals) {
	sig.CPU.Limit, sig.Memory.Limit, sig.Pids.Limit = l.cpu, l.memory, l.pids
	for part := range l.io {
		sig.IO[part].Limit, sig.IO[part].Name = l.io[part].limit, l.rateName(part)
	}
}

// worst keeps, of each figure, the one of the replica that is worst off.
func worst(all *detect.Resource, one detect.Resource) {
	all.Used, all.Stall, all.Hits = max(all.Used, one.Used), max(all.Stall, one.Stall), max(all.Hits, one.Hits)
}

// shortest is the least time from which a use of the CPU can be told: a period of
// the kernel's bandwidth control.
const shortest = 100 * time.Millisecond

func cpuUse(now, base sample) detect.Resource {
	seconds := now.over(base)
	if seconds < shortest.Seconds() || !now.usage.CPU.Known {
		return detect.Resource{}
	}
	r := detect.Resource{
		Used:  max(0, (now.usage.CPU.Time-base.usage.CPU.Time).Seconds()/seconds),
		Stall: share(now.usage.CPUPressure.Some, base.usage.CPUPressure.Some, seconds),
	}
	// The kernel counts the periods in which something ran: of a site that does next to nothing one throttled
	// moment would be all of them.
	r.Hits = min(1, rate(now.usage.CPU.Throttled, base.usage.CPU.Throttled, seconds/shortest.Seconds()))
	return r
}

func memoryUse(now, base sample) detect.Resource {
	if !now.usage.Memory.Known {
		return detect.Resource{}
	}
	hits := func(m cgroup.MemoryEvents) uint64 { return m.High + m.Max + m.OOM }
	return detect.Resource{
		Used:  float64(now.usage.Memory.Current - now.usage.Memory.Idle),
		Stall: share(now.usage.MemoryPressure.Some, base.usage.MemoryPressure.Some, max(now.over(base), shortest.Seconds())),
		Hits:  rate(hits(now.usage.Memory.MemoryEvents), hits(base.usage.Memory.MemoryEvents), 1),
	}
}

func pidsUse(now, base sample) detect.Resource {
	if !now.usage.Pids.Known {
		return detect.Resource{}
	}
	return detect.Resource{Used: float64(now.usage.Pids.Current), Hits: rate(now.usage.Pids.Refused, base.usage.Pids.Refused, 1)}
}

// replicasOf counts a site's replicas. The caller holds e.mu.
func replicasOf(e *entry) detect.Replicas {
	out := detect.Replicas{Min: e.active.spec.Scale.Min, Max: e.active.spec.Scale.Max, Now: e.active.machine.Serving()}
	for _, m := range e.active.machine.Replicas() {
		switch {
		case m.Spare():
			if m.State == site.Asleep {
				out.Spare++
			}
		case m.State == site.Starting, m.State == site.Rising:
			out.Starting++
		case m.State == site.Asleep, m.State == site.Draining:
			out.Spare++
		}
	}
	out.Spare += len(e.active.machine.Prepared())
	return out
}

// serving are the ids of the replicas that get new flows now, in order. The caller
// holds e.mu.
func serving(e *entry) []site.ReplicaID {
	var out []site.ReplicaID
	for _, m := range e.active.machine.Replicas() {
		if m.State == site.Ready && !m.Spare() {
			out = append(out, m.ID)
		}
	}
	slices.Sort(out)
	return out
}
