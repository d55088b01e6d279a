package site

import (
	"strings"
	"testing"
	"time"
)

// given are the states that a machine can be in, by a way that leads there.
var given = []struct {
	name string
	way  func() *story
}{
	{"parked", func() *story { return newStory(policy) }},
	{"starting", func() *story { return told(policy, PacketHeld{}) }},
	{"ready", ready},
	{"one port", func() *story { return told(policy, PacketHeld{}, ReplicaReady{ID: 1}) }},
	{"forced", func() *story { return told(policy, PacketHeld{}, ReplicaReady{ID: 1}, PortGraceOver{ID: 1}) }},
	{"closing, idle", func() *story {
		s := ready()
		s.on(IdleOver{ID: 1, IdleFor: 5 * time.Minute})
		return s
	}},
	{"closing, asked", func() *story {
		s := ready()
		s.on(ParkAsked{Reason: "asked"})
		return s
	}},
	{"stopping", func() *story {
		s := ready()
		s.on(ParkAsked{Reason: "asked", Force: true})
		return s
	}},
	{"stopping, to come again", func() *story {
		s := ready()
		s.on(SpecChanged{})
		return s
	}},
	{"stopping, next starting", func() *story {
		s := ready()
		s.on(ParkAsked{Reason: "asked", Force: true}, PacketHeld{})
		return s
	}},
	{"stopping, next ready", func() *story {
		s := ready()
		s.on(ParkAsked{Reason: "asked", Force: true}, PacketHeld{}, ReplicaReady{ID: 2, All: true})
		return s
	}},
	{"backoff", func() *story { return told(policy, PacketHeld{}, StartFailed{ID: 1, Reason: "disk full"}) }},
	{"backoff, timed out one stopping", func() *story { return told(policy, PacketHeld{}, StartTimedOut{ID: 1}) }},
	{"deleted, stopping", func() *story {
		s := ready()
		s.on(Deleted{})
		return s
	}},
	{"deleted, gone", func() *story { return told(policy, Deleted{}) }},
}

func told(p Policy, events ...Event) *story {
	s := newStory(p)
	s.on(events...)
	return s
}

// ready is a site whose replica is no crash loop any more.
func ready() *story {
	return told(policy, PacketHeld{}, ReplicaReady{ID: 1, All: true}).after(time.Minute)
}

// happens are the events of the table; 1 is the replica there is, or the older
// of two, and 9 one that is long gone.
var happens = []struct {
	name  string
	event Event
}{
	{"packet", PacketHeld{}},
	{"wake", WakeAsked{Reason: "asked"}},
	{"park", ParkAsked{Reason: "asked"}},
	{"park by force", ParkAsked{Reason: "asked", Force: true}},
	{"1 listens", ReplicaReady{ID: 1}},
	{"1 listens on all", ReplicaReady{ID: 1, All: true}},
	{"2 listens on all", ReplicaReady{ID: 2, All: true}},
	{"1 port grace over", PortGraceOver{ID: 1}},
	{"1 failed to start", StartFailed{ID: 1, Reason: "disk full"}},
	{"2 failed to start", StartFailed{ID: 2, Reason: "disk full"}},
	{"1 timed out", StartTimedOut{ID: 1}},
	{"2 timed out", StartTimedOut{ID: 2}},
	{"1 exited", ReplicaExited{ID: 1, Reason: "exit code 1"}},
	{"2 exited", ReplicaExited{ID: 2, Reason: "exit code 1"}},
	{"1 is idle", IdleOver{ID: 1, IdleFor: 5 * time.Minute}},
	{"1 was idle a minute", IdleOver{ID: 1, IdleFor: time.Minute}},
	{"1 is busy", IdleOver{ID: 1, Conns: 1, IdleFor: 5 * time.Minute}},
	{"1 still idle", Rechecked{ID: 1, IdleFor: 5 * time.Minute}},
	{"1 had a visitor", Rechecked{ID: 1, IdleFor: time.Second}},
	{"1 has a visitor", Rechecked{ID: 1, Conns: 1, IdleFor: time.Second}},
	{"backoff over", BackoffOver{}},
	{"spec changed", SpecChanged{}},
	{"deleted", Deleted{}},
	{"9 listens", ReplicaReady{ID: 9, All: true}},
	{"9 port grace over", PortGraceOver{ID: 9}},
	{"9 failed to start", StartFailed{ID: 9, Reason: "disk full"}},
	{"9 timed out", StartTimedOut{ID: 9}},
	{"9 exited", ReplicaExited{ID: 9, Reason: "exit code 1"}},
	{"9 is idle", IdleOver{ID: 9, IdleFor: 5 * time.Minute}},
	{"9 still idle", Rechecked{ID: 9, IdleFor: 5 * time.Minute}},
}

// TestEveryPair hands each event to a machine in each state. What `machine`
// does not list must change nothing and ask for nothing.
func TestEveryPair(t *testing.T) {
	states, events := map[string]bool{}, map[string]bool{}
	for _, g := range given {
		states[g.name] = true
		for _, h := range happens {
			events[h.name] = true
			t.Run(g.name+"/"+h.name, func(t *testing.T) {
				s := g.way()
				want, listed := machine[g.name][h.name]
				if !listed {
					want = "nothing => " + state(s.m)
				}
				want = strings.Join(strings.Fields(want), " ")
				if got := s.on(h.event); got != want {
					t.Errorf("%s, and then %s:\n got %s\nwant %s", g.name, h.name, got, want)
				}
			})
		}
	}
	for st, on := range machine {
		if !states[st] {
			t.Errorf("the table speaks of state %q, which no test reaches", st)
		}
		for ev := range on {
			if !events[ev] {
				t.Errorf("the table speaks of event %q, which no test makes", ev)
			}
		}
	}
}
