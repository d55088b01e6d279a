package status

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/policy"
)

// decisions are the kinds that say what the node chose to do with a site.
var decisions = []event.Kind{
	event.Waking, event.Woken, event.NotWoken, event.Running, event.Parked, event.Frozen, event.Reclaimed, event.Prepared, event.Checkpointed,
	event.NotFrozen, event.NotReclaimed, event.NotPrepared, event.NotCheckpointed, event.NotRestored, event.CheckpointDropped,
	event.Ladder, event.Busy, event.Circulating, event.ScaledUp, event.ScaledDown, event.ScaledOut, event.ScaledIn, event.Quarantined,
}

// mostWakes bounds how many wakes are looked at for who comes by the clock, and mostEvents
// how many events for these.
const (
	mostWakes  = 200
	mostEvents = 200_000
)

// Why implements api.Backend.
func (s *Status) Why(ctx context.Context, name string, n int) (api.Why, error) {
	v, err := s.Get(ctx, name)
	if err != nil {
		return api.Why{}, err
	}
	out := api.Why{Site: name, Tier: v.Tier, Phase: v.Phase, Idle: v.Idle, Circulation: v.Circulation}
	if v.Spec == nil { // quarantined: the last decision is all there is to say
		if v.Decision != nil {
			out.Decisions = []event.Event{{Time: v.Decision.Time, Site: name, Kind: v.Decision.Action, Reason: v.Decision.Reason}}
		}
		return out, nil
	}
	asked := policy.Asked{Tier: v.Tier, Idle: v.Idle.Duration()}
	out.Decisions, asked.Wakes, out.Since = s.decided(name, v.Tier, n)
	if asked.Idle == 0 && v.Tier != api.TierRunning && !out.Since.IsZero() { // as of a daemon that has not seen it awake
		asked.Idle = time.Since(out.Since)
		out.Idle = event.Nanoseconds(asked.Idle)
	}
	e, err := s.table.ByName(name)
	if err != nil {
		return out, err
	}
	life.WithLearnt(e, func(_ *life.Live, x *policy.Experience) {
		asked.Input = s.host.Input(v.Spec, x.Clone())
	})
	wire(&out, s.host.Plans.Why(asked))
	for _, f := range s.host.Plans.Follows(uint32(e.ID)) {
		if leads := s.table.ByID(bpf.SiteID(f.Site)); leads != nil {
			out.Follows = append(out.Follows, api.WhyFollows{
				Site: leads.Name, Came: f.Came, Wakes: f.Wakes, Lag: event.Nanoseconds(f.Lag), Within: event.Nanoseconds(sleep.Follows), Woken: f.Woken,
			})
		}
	}
	return out, nil
}

// decided gives the site's last decisions, its wakes, and since when it is on its tier,
// as far as events are kept.
func (s *Status) decided(name string, tier detect.Tier, n int) (last []event.Event, wakes []policy.Wake, since time.Time) {
	left := mostEvents
	s.host.Eventlog.Newest(func(ev event.Event) bool {
		left--
		if ev.Site != name {
			return left > 0
		}
		if len(last) < n && slices.Contains(decisions, ev.Kind) {
			told := ev
			told.Fields = nil // they are the event log's
			last = append(last, told)
		}
		if t, ok := ev.Trace(); ok && len(wakes) < mostWakes {
			wakes = append(wakes, policy.Wake{At: t.Start, Client: t.Client.Addr()})
		}
		if since.IsZero() && enters(ev.Kind, tier) {
			since = ev.Time
		}
		return left > 0 && (len(wakes) < mostWakes || len(last) < n)
	})
	return last, wakes, since
}

// enters says whether an event is that a site has come to a tier.
func enters(kind event.Kind, tier detect.Tier) bool {
	switch tier {
	case detect.TierRunning:
		return kind == event.Running || kind == event.Woken
	case detect.TierCold:
		return kind == event.Parked
	default:
		return kind == string(tier)
	}
}

func wire(out *api.Why, w policy.Why) {
	out.Pauses, out.Median, out.Long, out.Comes = w.Pauses, event.Nanoseconds(w.Median), event.Nanoseconds(w.Long), event.Nanoseconds(w.Comes)
	if u := w.Usual; u.Share > 0 {
		out.Usual = &api.WhyUsual{From: event.Nanoseconds(u.From), To: event.Nanoseconds(u.To), Share: u.Share}
	}
	for _, a := range w.Alternatives {
		out.Alternatives = append(out.Alternatives, api.WhyTier{
			Tier: a.Tier, Memory: a.Memory, Disk: a.Disk, Wake: event.Nanoseconds(a.Wake), Wakes: a.Wakes, Hold: a.Hold, Wait: event.Nanoseconds(a.Wait),
			Cost: a.Cost, Rung: a.Rung, After: event.Nanoseconds(a.After), Unused: a.Unused,
		})
	}
	out.Level = (*api.Level)(w.Level)
	if r := w.Rise; r != nil {
		out.Ahead = &api.WhyAhead{Tier: r.Tier, After: event.Nanoseconds(r.After)}
		if r.Until < math.MaxInt64 {
			out.Ahead.Until = event.Nanoseconds(r.Until)
		}
	}
	for _, c := range w.Callers {
		out.Callers = append(out.Callers, api.WhyCaller{
			Client: c.Client, Every: event.Nanoseconds(c.Every), Jitter: event.Nanoseconds(c.Jitter), Wakes: c.Wakes, Of: c.Of, Text: c.String(),
		})
	}
}
