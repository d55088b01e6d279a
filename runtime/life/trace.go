package life

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
)

// TracesUnderWay are the traces of wakes that are not over.
func (st *Site) TracesUnderWay() []event.Trace {
	out := []event.Trace{}
	st.With(func(l *Live) {
		if l.Activity == nil {
			return
		}
		for _, r := range l.Replicas {
			if r.trace != nil {
				out = append(out, r.trace.current())
			}
		}
	})
	return out
}

// wakeTrace collects the moments of one wake, in CLOCK_MONOTONIC.
type wakeTrace struct {
	mu    sync.Mutex
	start uint64
	at    time.Time // wall time of start
	t     event.Trace
	done  bool

	others map[netip.Addr]uint64 // when other visitors were held, who wait for the same wake
}

// mostOthers is more than a site has held packets of.
const mostOthers = 64

// joins notes a visitor who is held while the site wakes for another.
func joins(l *Live, p bpf.HeldPacket) {
	if l.Activity == nil {
		return
	}
	for _, r := range l.Replicas {
		if r.trace != nil {
			r.trace.joined(p)
		}
	}
}

func (w *wakeTrace) joined(p bpf.HeldPacket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := p.Client.Addr()
	if _, known := w.others[from]; known || w.t.Client.Addr() == from || len(w.others) == mostOthers {
		return
	}
	if w.others == nil {
		w.others = map[netip.Addr]uint64{}
	}
	w.others[from] = p.Time
}

// late is how many visitors have waited for longer than over, when the wake has added
// so much to the first one's answer.
func (w *wakeTrace) late(took, over time.Duration) (n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if took > over {
		n++
	}
	for _, at := range w.others {
		if took-time.Duration(max(at, w.start)-w.start) > over {
			n++
		}
	}
	return n
}

func (st *Site) newTrace(start uint64, first string) *wakeTrace {
	w := &wakeTrace{start: start, at: time.Now().Add(-time.Duration(st.Host.Now() - start))}
	w.t = event.Trace{Site: st.Name, Start: w.at, From: detect.TierCold, Result: event.ResultPending}
	w.mark(first, start)
	return w
}

// packetTrace is that of a wake by a held packet.
func (st *Site) packetTrace(p bpf.HeldPacket, read uint64) *wakeTrace {
	first := event.StepHeld
	if p.Proto == bpf.UDP {
		first = event.StepHeldUDP
	}
	w := st.newTrace(p.Time, first)
	w.client(p.Client)
	w.mark(event.StepEventRead, read)
	return w
}

// knockTrace is that of a wake by a packet which the kernel of a sleeping
// replica has taken.
func (l *Live) knockTrace(r *Replica, at uint64) *wakeTrace {
	m, _ := l.Machine.Replica(r.ID)
	if m.Tier == detect.TierRunning {
		return nil // it was only about to sleep
	}
	w := l.newTrace(at, event.StepKnocked)
	w.from(m.Tier)
	w.replica(r.Name)
	w.mark(event.StepEventRead, l.Host.Now())
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
	return len(w.t.Steps) > 0 && w.t.Steps[0].Name == event.StepKnocked
}

func (w *wakeTrace) client(c netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Client = c
}

// source is the network for which the site wakes; the zero one: nobody's.
func (w *wakeTrace) source() netip.Prefix {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bpf.SourceOf(w.t.Client.Addr())
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
	w.t.Steps = append(w.t.Steps, event.Step{Name: step, At: event.Nanoseconds(at - w.start)})
}

// stepNames are the steps of a container's start that people can make use of,
// by the names that package container gives them.
var stepNames = map[string]string{
	"mounted":  event.StepMounted,
	"created":  event.StepCreated,
	"executed": event.StepStarted,
}

func (w *wakeTrace) marks(timing container.Timing) {
	for _, s := range timing.Steps {
		if name := stepNames[s.Name]; name != "" {
			w.mark(name, uint64(timing.Started)+uint64(s.After))
		}
	}
}

// finish ends the trace; only the first call returns it.
func (w *wakeTrace) finish(result, failure string) (event.Trace, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return event.Trace{}, false
	}
	w.done = true
	w.t.Result, w.t.Error = result, failure
	return w.sorted(), true
}

func (w *wakeTrace) current() event.Trace {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sorted()
}

func (w *wakeTrace) sorted() event.Trace {
	t := w.t
	t.Steps = slices.Clone(t.Steps)
	slices.SortStableFunc(t.Steps, func(a, b event.Step) int { return int(a.At - b.At) })
	return t
}

// failTrace ends the traces of a wake that failed.
func (a *Activity) failTrace(h *Host, reason string) {
	if a.trace != nil {
		h.endTrace(a.trace, event.ResultFailed, reason)
		a.trace = nil
	}
	for _, r := range a.Replicas {
		if r.trace != nil {
			h.endTrace(r.trace, event.ResultFailed, reason)
			r.trace = nil
		}
	}
}

// endTrace logs a finished wake.
func (h *Host) endTrace(w *wakeTrace, result, failure string) {
	kind := event.Woken
	if result != event.ResultOK {
		kind = event.NotWoken
		w.mark(event.StepGivenUp, h.Now())
	}
	t, ok := w.finish(result, failure)
	if !ok {
		return
	}
	reason := failure
	if result == event.ResultOK && len(t.Steps) > 0 {
		last := t.Steps[len(t.Steps)-1]
		reason = last.Name + " after " + last.At.Duration().Round(10*time.Microsecond).String()
	}
	h.Tell(event.Event{
		Site: t.Site, Replica: t.Replica, Kind: kind, Reason: reason,
		Fields: map[string]any{event.FieldTrace: t},
	})
}
