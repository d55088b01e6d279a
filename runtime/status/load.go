package status

import (
	"slices"
	"strings"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
)

// viewLoad fills in what the kernel counted of a site's replicas since somebody
// looked before.
func (s *Status) viewLoad(l *life.Live, v *api.Site) {
	a := l.Activity
	now := l.Host.Scale.Samples(l.Scaled(), scale.Cause{})
	total := l.WhatWasLearnt().Ended.Load
	v.Conns.Total += total.ConnsTotal
	if len(now) == 0 {
		return
	}
	a.Seen.Add(now, func(id site.ReplicaID) uint64 { return scale.StartedAt(l.Scaled(), id) })
	v.Load = &api.Load{}
	addLoad(v.Load, total)
	var answers bpf.Histogram
	var usage api.Usage
	for id, s := range now {
		base := a.Seen.Base[id]
		l := s.Load
		addLoad(v.Load, l)
		v.Load.Over = max(v.Load.Over, event.Nanoseconds(s.Counted-min(base.Counted, s.Counted)))
		v.Load.Rate += scale.Rate(l.Requests, base.Load.Requests, s.Counting(base))
		answers = answers.Add(l.Latency.Sub(base.Load.Latency))
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
func addUsage(u *api.Usage, now, base scale.Sample) {
	if now.Usage.CPU.Known && now.Over(base) >= scale.Shortest.Seconds() {
		u.CPU = sum(u.CPU, max(0, (now.Usage.CPU.Time-base.Usage.CPU.Time).Seconds())/now.Over(base))
	}
	if now.Usage.Memory.Known {
		u.Memory = sum(u.Memory, int64(now.Usage.Memory.Current))
	}
	if now.Usage.Pids.Known {
		u.PIDs = sum(u.PIDs, int64(now.Usage.Pids.Current))
	}
}

func sum[N int64 | float64](to *N, v N) *N {
	if to != nil {
		v += *to
	}
	return &v
}

// latency is that of all answers of a site, its replicas that are gone among them.
func latency(l *life.Live) bpf.Histogram {
	out := l.WhatWasLearnt().Ended.Load.Latency
	for _, s := range l.Host.Scale.Samples(l.Scaled(), scale.Cause{}) {
		out = out.Add(s.Load.Latency)
	}
	return out
}

// viewScaling fills in the limits that hold and what is watched.
func (s *Status) viewScaling(l *life.Live, v *api.Site) {
	a := l.Activity
	if a.Scaling == nil {
		s.fillLimits(v, a.Spec, nil)
		return
	}
	s.fillLimits(v, a.Spec, &a.Scaling.Limits)
	for _, t := range a.Scaling.Fired {
		v.Triggers = append(v.Triggers, api.Trigger(*t))
	}
	slices.SortFunc(v.Triggers, func(a, b api.Trigger) int { return strings.Compare(a.Kind, b.Kind) })
}
