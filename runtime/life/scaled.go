package life

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// scaled is a site as scaling sees it.
type scaledSite struct{ st *Site }

func (s scaledSite) ID() bpf.SiteID { return s.st.ID }

func (s scaledSite) Name() string { return s.st.Name }

func (s scaledSite) WithScaled(f func(scale.Site)) {
	s.st.With(func(l *Live) { f(scaledLive{l}) })
}

func (s scaledSite) TryWithScaled(f func(scale.Site)) bool {
	if !s.st.mu.TryLock() {
		return false
	}
	defer s.st.mu.Unlock()
	f(scaledLive{&s.st.live})
	return true
}

// Scaled is the site as scaling sees it.
func (st *Site) Scaled() scale.Ref { return scaledSite{st} }

// Scaled is the live site as scaling sees it.
func (l *Live) Scaled() scale.Site { return scaledLive{l} }

// scaledLive is that with the lock held.
type scaledLive struct{ l *Live }

func (s scaledLive) Ref() scale.Ref { return s.l.Site.Scaled() }

func (s scaledLive) Spec() *spec.Site { return s.l.Spec }

func (s scaledLive) Ask(asked site.ScaleAsked) { s.l.handle(asked) }

func (s scaledLive) SetScaling(to *scale.State) { s.l.Scaling = to }

func (s scaledLive) Scaling() *scale.State {
	if s.l.Activity == nil {
		return nil
	}
	return s.l.Scaling
}

// NotScaled tells it once for as long as the site is known.
func (s scaledLive) NotScaled(reasons []string) {
	if h := s.l.past(); !h.unscaled {
		h.unscaled = true
		for _, reason := range reasons {
			s.l.Host.Tell(event.Event{Site: s.l.Name, Kind: event.NotScaled, Reason: reason})
		}
	}
}

// Tell adds an event; a decision is also the site's last one.
func (s scaledLive) Tell(ev event.Event) {
	h := s.l.past()
	switch ev.Kind {
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
