package e2e

import (
	"context"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

func (n *node) ctx() context.Context { return testutil.Context(n.t, 2*patience) }

// mark is the newest event's number: await looks behind it.
func (n *node) mark() uint64 {
	n.t.Helper()
	var seq uint64
	for ev, err := range n.api.Events(n.ctx(), api.EventOptions{Last: 1}) {
		if err != nil {
			n.t.Fatal(err)
		}
		seq = ev.Seq
	}
	return seq
}

// events are the site's, after a mark.
func (s *site) events(after uint64) []api.Event {
	s.n.t.Helper()
	var out []api.Event
	for ev, err := range s.n.api.Events(s.n.ctx(), api.EventOptions{Since: after, Site: s.name}) {
		if err != nil {
			s.n.t.Fatal(err)
		}
		out = append(out, ev)
	}
	return out
}

// story is what happened after a mark, for messages.
func (s *site) story(after uint64) []string {
	s.n.t.Helper()
	var out []string
	for _, ev := range s.events(after) {
		out = append(out, tell(ev))
	}
	return out
}

// kinds are the events' kinds in order, without those that are not asked for.
func kinds(events []api.Event, of ...string) []string {
	var out []string
	for _, ev := range events {
		if slices.Contains(of, ev.Kind) {
			out = append(out, ev.Kind)
		}
	}
	return out
}

// await waits for an event of the site, of one of the kinds, after a mark.
func (s *site) await(after uint64, kinds ...string) api.Event {
	s.n.t.Helper()
	return s.n.awaitSite(after, s.name, kinds...)
}

// await waits for an event after a mark.
func (n *node) await(after uint64, kind string) api.Event {
	n.t.Helper()
	return n.awaitSite(after, "", kind)
}

// awaitSite waits for an event of a site; none: of any or none.
func (n *node) awaitSite(after uint64, name string, kinds ...string) api.Event {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), testutil.Timeout(patience))
	defer cancel()
	var seen []string
	for ev, err := range n.api.Events(ctx, api.EventOptions{Since: after, Site: name, Follow: true}) {
		if err != nil {
			n.t.Fatalf("waiting for an event %q of site %q: %v; there were %q", kinds, name, err, seen)
		}
		if slices.Contains(kinds, ev.Kind) {
			return ev
		}
		seen = append(seen, tell(ev))
	}
	n.t.Fatalf("waiting for an event %q of site %q: the stream ended after %q", kinds, name, seen)
	return api.Event{}
}

// tell puts an event into a few words.
func tell(ev api.Event) string {
	return strings.Join(strings.Fields(ev.Kind+" "+ev.Replica+" "+ev.Reason), " ")
}

// starts counts the wakes after a mark.
func (s *site) starts(after uint64) int {
	s.n.t.Helper()
	return len(kinds(s.events(after), "waking"))
}
