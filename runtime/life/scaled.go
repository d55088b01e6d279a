package life

import (
	"slices"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
)

// scaled is a site as scaling sees it.
type scaledSite struct{ st *Site }

func (s scaledSite) ID() bpf.SiteID { return s.st.ID }

func (s scaledSite) Name() string { return s.st.Name }

func (s scaledSite) WithScaled(f func(scale.Site)) { s.st.With(ifLive(f)) }

func (s scaledSite) TryWithScaled(f func(scale.Site)) bool { return s.st.tryWith(ifLive(f)) }

func ifLive(f func(scale.Site)) func(l *Live) {
	return func(l *Live) {
		if l.Activity != nil {
			f(l.Scaled())
		}
	}
}

// Scaled is the site as scaling sees it.
func (st *Site) Scaled() scale.Ref { return scaledSite{st} }

// Scaled is the live site as scaling sees it.
func (l *Live) Scaled() scale.Site {
	return scale.Site{Live: scaledLive{l}, Ref: scaledSite{l.Site}, Spec: l.Spec, Kept: &l.Scaling}
}

type scaledLive struct{ l *Live }

func (s scaledLive) Ask(asked site.ScaleAsked) { s.l.handle(asked) }

// Tell adds an event; a decision is also the site's last one. What cannot be scaled is
// told once for as long as the site is known.
func (s scaledLive) Tell(ev event.Event) {
	h := s.l.past()
	switch ev.Kind {
	case event.NotScaled:
		if slices.Contains(h.unscaled, ev.Reason) {
			return
		}
		h.unscaled = append(h.unscaled, ev.Reason)
	case event.ScaledUp, event.ScaledDown, event.ScaledOut, event.ScaledIn:
		h.Decision = &event.Decision{Time: time.Now(), Action: ev.Kind, Reason: ev.Text}
	}
	ev.Site = s.l.Name
	s.l.Host.Tell(ev)
}

func (s scaledLive) Set() scale.Set {
	m := s.l.Machine
	out := scale.Set{Serving: m.Serving(), Prepared: len(m.Prepared())}
	for _, r := range m.Replicas() {
		v := scale.Replica{ID: r.ID, State: r.State, Spare: r.Spare(), Serves: r.Serves(), Came: detect.TierCold}
		if own := s.l.Replicas[r.ID]; own != nil {
			v.Name, v.Started, v.Joined, v.Came = own.Name, own.Started, own.from, cameFrom(own)
			if own.Ctr != nil {
				v.Group = own.Ctr.Group()
			}
		}
		out.Replicas = append(out.Replicas, v)
	}
	return out
}
