package scale

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// The kinds of events that decisions are.
var scaledKinds = map[detect.Kind]event.Kind{
	detect.Up: event.ScaledUp, detect.Down: event.ScaledDown, detect.Out: event.ScaledOut, detect.In: event.ScaledIn,
}

// scaled tells of a decision, with what it rests on. done is when it was carried
// out; 0: the delay says nothing. replicas are those of before.
func (g *Engine) scaled(l Site, d detect.Decision, replicas int, why Cause, done uint64) {
	kind := scaledKinds[d.Kind]
	fields := evidence(d)
	g.Metrics.decisions.WithLabelValues(kind, string(d.Resource)).Inc()
	if why.at != 0 && done > why.at {
		delay := time.Duration(done - why.at)
		g.Metrics.delay.WithLabelValues(kind, why.kind).Observe(delay.Seconds())
		fields["trigger"], fields["delayNs"], fields["wayNs"] = why.what, int64(delay), why.way.fields(why.at)
		if why.threshold > 0 {
			fields["triggerValue"], fields["triggerThreshold"] = why.value, why.threshold
		}
	}
	text := ""
	switch d.Kind {
	case detect.Up, detect.Down:
		fields["resource"], fields["from"], fields["to"] = string(d.Resource), d.From, d.To
		what, in := string(d.Resource), amount
		if d.Resource == detect.IO {
			what, in = l.Scaling().Limits.tellRate(d.Part, fields)
		}
		text = fmt.Sprintf("%s %s to %s: %s", what, in(d.Resource, d.From), in(d.Resource, d.To), d.Reason)
	case detect.Out, detect.In:
		fields["from"], fields["to"] = replicas, d.Replicas
		text = fmt.Sprintf("%d to %d replicas: %s", replicas, d.Replicas, d.Reason)
	case detect.None:
		return
	}
	l.Tell(event.Event{Kind: kind, Reason: d.Reason, Text: text, Fields: fields})
}

// evidence are a decision's figures for programs.
func evidence(d detect.Decision) map[string]any {
	fields := map[string]any{}
	var list []map[string]any
	for _, v := range d.Evidence {
		list = append(list, map[string]any{"name": v.Name, "value": finite(v.Value), "limit": finite(v.Limit)})
	}
	if list != nil {
		fields["evidence"] = list
	}
	return fields
}

// finite keeps JSON from refusing what is no number.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// amount is a limit in words.
func amount(name detect.ResourceName, v float64) string {
	switch name {
	case detect.Memory:
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	case detect.CPU:
		return fmt.Sprintf("%.2f cores", v)
	case detect.Pids, detect.IO:
	}
	return fmt.Sprintf("%.0f", v)
}

// joined notes how long it took until a replica that scaling out had asked for could
// get flows.
func (g *Engine) joined(l Site, id site.ReplicaID) {
	s := l.Scaling()
	begun, ok := s.begun[id]
	if !ok {
		return
	}
	delete(s.begun, id)
	took := time.Duration(bpf.Now() - begun)
	if r, ok := find(l, id); ok && r.Joined != "" {
		smooth(&s.scaler.Costs.OutSpare, took)
	} else {
		smooth(&s.scaler.Costs.Out, took)
		g.costs.out(took)
	}
	g.Metrics.joined.Observe(took.Seconds())
}

// FirstFlow notes the time from a trigger to the first connection of a replica that
// came of it.
func (g *Engine) FirstFlow(l Site, id site.ReplicaID, at uint64) {
	s := l.Scaling()
	if s == nil || s.outs[id] == 0 {
		return
	}
	took := time.Duration(at - min(at, s.outs[id]))
	delete(s.outs, id)
	g.Metrics.firstFlow.Observe(took.Seconds())
	r, _ := find(l, id)
	fields := map[string]any{"delayNs": int64(took), "from": r.Came}
	l.Tell(event.Event{
		Replica: r.Name, Kind: event.Joined, Fields: fields,
		Reason: "its first connection came " + took.Round(10*time.Microsecond).String() + " after the trigger",
	})
}

// actionCosts are what actions have cost on this node, for sites of which nothing is
// known yet.
type actionCosts struct {
	mu sync.Mutex
	c  detect.ActionCosts
}

func (a *actionCosts) typical() detect.ActionCosts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.c
}

func (a *actionCosts) out(took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	smooth(&a.c.Out, took)
}

// smooth takes a further measurement of a cost into account.
func smooth(cost *time.Duration, took time.Duration) {
	if *cost == 0 {
		*cost = took
	}
	*cost += (took - *cost) / 8
}

// metrics are counted as decisions are taken.
type metrics struct {
	decisions *prometheus.CounterVec
	triggers  *prometheus.CounterVec
	delay     *prometheus.HistogramVec
	joined    prometheus.Histogram
	firstFlow prometheus.Histogram
}

// NewMetrics makes them, all zero.
func NewMetrics() *metrics {
	fine := prometheus.ExponentialBuckets(50e-6, 2, 16) // 50 µs to 1.6 s
	coarse := prometheus.ExponentialBuckets(1e-3, 2, 16)
	return &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fcnode_scale_decisions_total", Help: "Decisions to scale, by what was decided and of which resource.",
		}, []string{"decision", "resource"}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fcnode_scale_triggers_total", Help: "What the kernel told of sites that can be scaled.",
		}, []string{"trigger"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fcnode_scale_delay_seconds", Help: "From the kernel's event to the end of the write that it led to.", Buckets: fine,
		}, []string{"decision", "trigger"}),
		joined: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fcnode_scale_out_seconds", Help: "From the decision to scale out until the new replica listens.", Buckets: coarse,
		}),
		firstFlow: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fcnode_scale_out_first_connection_seconds", Help: "From the kernel's event to the new replica's first connection.", Buckets: coarse,
		}),
	}
}

func (m *metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.decisions, m.triggers, m.delay, m.joined, m.firstFlow}
}
