package life

import (
	"fmt"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/site"
)

// StallLook is the time between two looks at whether applications hang.
const StallLook = 5 * time.Second

// stall is what the kernel's counters say of a replica whose visitors may wait in
// vain.
type stall struct {
	last  bpf.Load  // at the last look; of a fresh replica nothing, so that its first visitor's wait is seen
	since time.Time // nobody has got an answer; zero: not so
	told  bool
}

// judge says for how long visitors have waited while nobody got an answer. Whoever
// asks nothing (an idle WebSocket, a protocol without turns) does not wait, and an
// application that goes on reading what somebody sends is at work.
func (s *stall) judge(now time.Time, load bpf.Load) time.Duration {
	last := s.last
	s.last = load
	answered := load.BytesOut != last.BytesOut || load.DatagramsOut != last.DatagramsOut
	asked := load.Requests != last.Requests || load.AcceptQueue > 0
	reads := load.BytesIn != last.BytesIn && !asked && load.ConnsTotal == last.ConnsTotal
	switch {
	case answered, reads, load.ConnsNow == 0:
		s.end()
	case asked && s.since.IsZero():
		s.since = now
	}
	if s.since.IsZero() {
		return 0
	}
	return now.Sub(s.since)
}

// end is that nobody waits any more: they have got an answer, have gone, or the replica has
// slept since.
func (s *stall) end() { s.since, s.told = time.Time{}, false }

// news says that visitors have waited for longer than the patience with them, once
// for each time that they do.
func (s *stall) news(now time.Time, load bpf.Load, patience time.Duration) (waited time.Duration, is bool) {
	waited = s.judge(now, load)
	if waited < patience || s.told {
		return waited, false
	}
	s.told = true
	return waited, true
}

// FindStalls looks at all replicas that serve, and tells of those whose visitors wait
// in vain.
func (h *Host) FindStalls() {
	var ids []bpf.ReplicaID
	h.eachServing(func(_ *Live, r *Replica) { ids = append(ids, bpf.ReplicaID(r.ID)) })
	if len(ids) == 0 {
		return
	}
	loads, err := h.Data.Load(ids) // at once: it reads the whole of some maps
	if err != nil {
		h.Log.Error("cannot tell which applications hang", "error", err)
		return
	}
	h.eachServing(func(l *Live, r *Replica) {
		load, ok := loads[bpf.ReplicaID(r.ID)]
		if !ok {
			return
		}
		if r.stall == nil { // adopted or paused: what was counted before is no news
			r.stall = &stall{last: load}
		}
		if waited, news := r.stall.news(time.Now(), load, l.Spec.Health.Patience()); news {
			h.Tell(stalled(r, load, waited, l.Name))
		}
	})
}

// eachServing calls f for the replicas that serve.
func (h *Host) eachServing(f func(*Live, *Replica)) {
	for _, st := range h.Awake.All() {
		h.each(st, func(l *Live) {
			if l.Activity == nil || l.gone {
				return
			}
			if l.pause != nil {
				for _, r := range l.Replicas {
					r.stall = nil
				}
				return
			}
			for id, r := range l.Replicas {
				if m, ok := l.Machine.Replica(id); ok && m.State == site.Ready && !m.Spare() {
					f(l, r)
				} else if r.stall != nil {
					r.stall.end()
				}
			}
		})
	}
}

func stalled(r *Replica, load bpf.Load, waited time.Duration, siteName string) event.Event {
	return event.Event{
		Site: siteName, Replica: r.Name, Kind: event.Stalled,
		Reason: fmt.Sprintf("%d connections are open, %d of them not accepted, and nobody has got an answer for %s",
			load.ConnsNow, load.AcceptQueue, waited.Round(time.Second)),
		Fields: map[string]any{"conns": load.ConnsNow, "acceptQueue": load.AcceptQueue},
	}
}
