package node

import (
	"slices"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
)

// viewLoad fills in what the kernel counted of a site's replicas since somebody
// looked before. The caller holds e.mu.
func (n *Node) viewLoad(e *entry, v *api.Site) {
	a := e.active
	now := n.samples(e, cause{})
	if len(now) == 0 {
		return
	}
	a.seen.add(now, e.startedAt)
	v.Load = &api.Load{}
	var answers bpf.Histogram
	var usage api.Usage
	for id, s := range now {
		base := a.seen.base[id]
		l := s.load
		addLoad(v.Load, l)
		v.Load.Over = max(v.Load.Over, event.Nanoseconds(s.counted-min(base.counted, s.counted)))
		v.Load.Rate += rate(l.Requests, base.load.Requests, s.counting(base))
		answers = answers.Add(l.Latency.Sub(base.load.Latency))
		addUsage(&usage, s, base)
	}
	if answers.Count() > 0 {
		v.Latency = &api.Latency{P50: event.Nanoseconds(answers.Quantile(0.5)), P99: event.Nanoseconds(answers.Quantile(0.99))}
	}
	if usage != (api.Usage{}) {
		v.Usage = &usage
	}
}

func addLoad(to *api.Load, l bpf.Load) {
	to.Requests += l.Requests
	to.NoTurns += l.NoTurns
	to.Refused += l.Refused
	to.Failed += l.Failed
	to.BytesIn += l.BytesIn
	to.BytesOut += l.BytesOut
	to.UDPFlows += l.UDPFlows
	to.AcceptQueue = max(to.AcceptQueue, l.AcceptQueue)
}

// addUsage adds what a replica's cgroup says it uses; what nothing accounts for
// stays unknown.
func addUsage(u *api.Usage, now, base sample) {
	if now.usage.CPU.Known && now.over(base) >= shortest.Seconds() {
		u.CPU = sum(u.CPU, max(0, (now.usage.CPU.Time-base.usage.CPU.Time).Seconds())/now.over(base))
	}
	if now.usage.Memory.Known {
		u.Memory = sum(u.Memory, int64(now.usage.Memory.Current))
	}
	if now.usage.Pids.Known {
		u.PIDs = sum(u.PIDs, int64(now.usage.Pids.Current))
	}
}

func sum[N int64 | float64](to *N, v N) *N {
	if to != nil {
		v += *to
	}
	return &v
}

// viewScaling fills in the limits that hold and what is watched. The caller holds
// e.mu.
func (n *Node) viewScaling(e *entry, v *api.Site) {
	a := e.active
	if a.scaling == nil {
		n.fillLimits(v, a.spec.Limits, nil)
		return
	}
	n.fillLimits(v, a.spec.Limits, &a.scaling.limits)
	for _, t := range a.scaling.fired {
		v.Triggers = append(v.Triggers, *t)
	}
	slices.SortFunc(v.Triggers, func(a, b api.Trigger) int { return strings.Compare(a.Kind, b.Kind) })
}
