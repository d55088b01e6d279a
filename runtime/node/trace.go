package node

import (
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
)

// wakeTrace collects the moments of one wake, in CLOCK_MONOTONIC.
type wakeTrace struct {
	mu    sync.Mutex
	start uint64
	at    time.Time // wall time of start
	t     api.Trace
	done  bool
}

func newTrace(siteName string, start uint64, first string) *wakeTrace {
	w := &wakeTrace{start: start, at: time.Now().Add(-time.Duration(bpf.Now() - start))}
	w.t = api.Trace{Site: siteName, Start: w.at, From: api.TierCold, Result: api.ResultPending}
	w.mark(first, start)
	return w
}

// packetTrace is that of a wake by a held packet.
func packetTrace(siteName string, p bpf.HeldPacket, read uint64) *wakeTrace {
	first := api.StepHeld
	if p.Proto == bpf.UDP {
		first = api.StepHeldUDP
	}
	w := newTrace(siteName, p.Time, first)
	w.client(p.Client)
	w.mark(api.StepEventRead, read)
	return w
}

// knockTrace is that of a wake by a packet which the kernel of a sleeping
// replica has taken. The caller holds e.mu.
func (n *Node) knockTrace(e *entry, r *replica, at uint64) *wakeTrace {
	m, _ := e.active.machine.Replica(r.id)
	if m.Tier == detect.TierRunning {
		return nil // it was only about to sleep
	}
	w := newTrace(e.name, at, api.StepKnocked)
	w.from(m.Tier)
	w.replica(r.name)
	w.mark(api.StepEventRead, bpf.Now())
	return w
}

// from says which tier the site is woken from.
func (w *wakeTrace) from(t detect.Tier) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.From = t
}

// knocked says that a packet to a sleeping replica began the wake.
func (w *wakeTrace) knocked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.t.Steps) > 0 && w.t.Steps[0].Name == api.StepKnocked
}

func (w *wakeTrace) client(c netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Client = c
}

// byHand says that nobody is held: the wake ends when the site listens.
func (w *wakeTrace) byHand() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.t.Client.IsValid()
}

func (w *wakeTrace) replica(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Replica = name
}

// mark notes the first time that a step was reached.
func (w *wakeTrace) mark(step string, at uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.t.Steps {
		if s.Name == step {
			return
		}
	}
	w.t.Steps = append(w.t.Steps, api.Step{Name: step, At: api.Nanoseconds(at - w.start)})
}

// stepNames are the steps of a container's start that people can make use of,
// by the names that package container gives them.
var stepNames = map[string]string{
	"mounted":  api.StepMounted,
	"created":  api.StepCreated,
	"executed": api.StepStarted,
}

func (w *wakeTrace) marks(timing container.Timing) {
	for _, s := range timing.Steps {
		if name := stepNames[s.Name]; name != "" {
			w.mark(name, uint64(timing.Started)+uint64(s.After))
		}
	}
}

// finish ends the trace; only the first call returns it.
func (w *wakeTrace) finish(result, failure string) (api.Trace, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return api.Trace{}, false
	}
	w.done = true
	w.t.Result, w.t.Error = result, failure
	return w.sorted(), true
}

func (w *wakeTrace) current() api.Trace {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sorted()
}

func (w *wakeTrace) sorted() api.Trace {
	t := w.t
	t.Steps = slices.Clone(t.Steps)
	slices.SortStableFunc(t.Steps, func(a, b api.Step) int { return int(a.At - b.At) })
	return t
}

// The events that carry a finished trace.
const (
	kindWoken    = "woken"
	kindNotWoken = "not-woken"
	fieldTrace   = "trace"
)

// endTrace journals a finished wake.
func (n *Node) endTrace(w *wakeTrace, result, failure string) {
	kind := kindWoken
	if result != api.ResultOK {
		kind = kindNotWoken
		w.mark(api.StepGivenUp, bpf.Now())
	}
	t, ok := w.finish(result, failure)
	if !ok {
		return
	}
	reason := failure
	if result == api.ResultOK && len(t.Steps) > 0 {
		last := t.Steps[len(t.Steps)-1]
		reason = last.Name + " after " + last.At.Duration().Round(10*time.Microsecond).String()
	}
	n.journalEvent(api.Event{
		Site: t.Site, Replica: t.Replica, Kind: kind, Reason: reason,
		Fields: map[string]any{fieldTrace: t},
	})
}

// failTrace ends the traces of a wake that failed. The caller holds e.mu.
func (n *Node) failTrace(e *entry, reason string) {
	if e.active.trace != nil {
		n.endTrace(e.active.trace, api.ResultFailed, reason)
		e.active.trace = nil
	}
	for _, r := range e.active.replicas {
		if r.trace != nil {
			n.endTrace(r.trace, api.ResultFailed, reason)
			r.trace = nil
		}
	}
}

// traceOf finds the trace in an event: as it was put there, or as JSON read
// back from disk.
func traceOf(ev api.Event) (api.Trace, bool) {
	if ev.Kind != kindWoken && ev.Kind != kindNotWoken {
		return api.Trace{}, false
	}
	switch v := ev.Fields[fieldTrace].(type) {
	case api.Trace:
		return v, true
	case map[string]any:
		b, err := json.Marshal(v)
		if err != nil {
			return api.Trace{}, false
		}
		var t api.Trace
		return t, json.Unmarshal(b, &t) == nil
	}
	return api.Trace{}, false
}
