package site

import (
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// beside is a site whose replicas may stand side by side.
func beside(most int) Policy {
	p := policy
	p.Overlap, p.Max = true, most
	return p
}

var up = []step{
	{0, PacketHeld{}, starts1},
	{0, ReplicaReady{ID: 1, All: true}, "release, … => running (1 ready)"},
}

func TestCirculate(t *testing.T) {
	begun := append(up, step{time.Hour, CirculateAsked{Reason: "asked"}, `publish, start 2, arm-start 2 30s, note waking 2 "asked", note circulating 1 "asked" => running (1 ready, 2 starting)`})
	switched := append(begun, step{0, ReplicaReady{ID: 2, All: true}, `release, publish, note draining 1 "replaced by a fresh one: asked", arm-drain 1 3s, … => running (1 draining, 2 ready)`})
	t.Run("drained", func(t *testing.T) {
		tell(t, beside(1), append(switched,
			step{0, Emptied{ID: 1}, "nothing …"}, // those whose handshake is under way are no connections yet
			step{3 * time.Second, DrainOver{ID: 1}, "arm-drain 1 30s, watch 1 …"},
			step{0, Emptied{ID: 1}, `publish, stop 1, note drained 1 "its last connection has ended" …`},
			step{0, ReplicaExited{ID: 1}, "publish => running (2 ready)"})...)
	})
	t.Run("out of time", func(t *testing.T) {
		tell(t, beside(1), append(switched,
			step{3 * time.Second, DrainOver{ID: 1}, "arm-drain 1 30s, watch 1 …"},
			step{30 * time.Second, DrainOver{ID: 1}, "publish, stop 1, note drained …"})...)
	})
	t.Run("the next one fails, the old one stays, and it is tried again", func(t *testing.T) {
		tell(t, beside(1), append(begun,
			step{0, StartFailed{ID: 2, Reason: "disk full"}, `publish, note! not-circulated 2 "disk full", arm-life 1 10s => running (1 ready)`},
			step{10 * time.Second, LifeOver{ID: 1}, `publish, start 3, …, note circulating 1 "asked" …`})...)
	})
	t.Run("the next one ends when it has taken over: the old one serves again", func(t *testing.T) {
		tell(t, beside(1), append(switched,
			step{time.Second, ReplicaExited{ID: 2, Reason: "exit code 1"}, `publish, note! exited 2 …, release, note running 1 "its successor is gone", … => running (1 ready)`})...)
	})
	t.Run("the next one is idle: it stays until the old one is gone", func(t *testing.T) {
		tell(t, beside(1), append(switched,
			step{time.Hour, IdleOver{ID: 2, IdleFor: time.Hour}, "arm-idle 2 3s => running (1 draining, 2 ready)"},
			step{0, DrainOver{ID: 1}, "arm-drain 1 30s, watch 1 …"},
			step{0, Emptied{ID: 1}, `publish, stop 1, note drained 1 "its last connection has ended" …`},
			step{0, ReplicaExited{ID: 1}, "publish => running (2 ready)"},
			step{3 * time.Second, IdleOver{ID: 2, IdleFor: time.Hour}, "publish, recheck 2 => parking (2 closing)"})...)
	})
	t.Run("a spec that changes again", func(t *testing.T) {
		tell(t, beside(1), append(begun,
			step{0, SpecChanged{}, `publish, stop 2, start 3, …, note circulating 1 "spec changed" => running (1 ready, 2 stopping, 3 starting)`})...)
	})
	t.Run("one after the other", func(t *testing.T) {
		tell(t, beside(2), append(up,
			step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, start 2, …"},
			step{0, ReplicaReady{ID: 2, All: true}, "release, …"},
			step{0, CirculateAsked{Reason: "asked"}, "publish, start 3, … => running (1 ready, 2 ready, 3 starting)"},
			step{0, ReplicaReady{ID: 3, All: true}, "release, publish, note draining 1 …, start 4, … => running (1 draining, 2 ready, 3 ready, 4 starting)"},
			step{0, ReplicaReady{ID: 4, All: true}, "release, publish, note draining 2 … => running (1 draining, 2 draining, 3 ready, 4 ready)"})...)
	})
	t.Run("asleep: nobody needs the next one", func(t *testing.T) {
		p := deep()
		p.Overlap = true
		tell(t, p, append(upTo(detect.TierFrozen), step{0, CirculateAsked{Reason: "asked"}, "publish, stop 1 => parking (1 stopping)"})...)
	})
	t.Run("apart", func(t *testing.T) {
		p := beside(1)
		p.Overlap = false
		tell(t, p, append(up,
			step{0, CirculateAsked{Reason: "asked"}, "publish, stop 1 => parking (1 stopping)"},
			step{0, ReplicaExited{ID: 1}, "publish, start 2, … => waking (2 starting)"})...)
	})
}

func TestLifetimeAndSpare(t *testing.T) {
	p := beside(1)
	p.Lifetime, p.Ahead = time.Hour, true
	spared := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-life 1 1h0m0s, arm-spare 10s => running (1 ready)"},
		{10 * time.Second, SpareDue{}, "publish, start 2, … => running (1 ready, 2 spare starting)"},
		{0, ReplicaReady{ID: 2, All: true}, "descend 2 frozen => running (1 ready, 2 spare suspending)"},
		{0, Descended{ID: 2, Tier: detect.TierFrozen}, "note spare 2 … => running (1 ready, 2 spare asleep)"},
	}
	t.Run("takes over", func(t *testing.T) {
		tell(t, p, append(spared,
			step{time.Hour, LifeOver{ID: 1}, `publish, ascend 2, … => running (1 ready, 2 resuming)`},
			step{0, Ascended{ID: 2}, "publish, release, note draining 1 …, arm-life 2 1h0m0s, arm-spare 10s => running (1 draining, 2 ready)"})...)
	})
	t.Run("takes over from one that crashed", func(t *testing.T) {
		tell(t, p, append(spared, step{time.Minute, ReplicaExited{ID: 1, Reason: "x"}, "publish, note! exited 1 …, ascend 2, … => waking (2 resuming)"})...)
	})
	t.Run("of an old spec", func(t *testing.T) {
		tell(t, p, append(spared, step{time.Minute, SpecChanged{}, "publish, stop 2, start 3, … => running (1 ready, 2 spare stopping, 3 starting)"})...)
	})
	t.Run("of a site that goes to sleep", func(t *testing.T) {
		tell(t, p, append(spared,
			step{time.Hour, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "publish, stop 1, stop 2 …"},
			step{0, ReplicaExited{ID: 1}, "publish, note parked …"},
			step{0, ReplicaExited{ID: 2}, "publish => parked"})...)
	})
}

func TestScale(t *testing.T) {
	two := append(up,
		step{0, ScaleAsked{Want: 5, Reason: "load"}, "publish, start 2, arm-start 2 30s, note waking 2 …, start 3, … => running (1 ready, 2 starting, 3 starting)"},
		step{0, ReplicaReady{ID: 2, All: true}, "release, …"},
		step{0, ReplicaReady{ID: 3, All: true}, "release, … => running (1 ready, 2 ready, 3 ready)"})
	t.Run("in, the oldest first", func(t *testing.T) {
		tell(t, beside(3), append(two,
			step{0, ScaleAsked{Want: 1, Reason: "calm"}, "publish, note draining 1 …, note draining 2 … => running (1 draining, 2 draining, 3 ready)"})...)
	})
	t.Run("out again: what drains serves again", func(t *testing.T) {
		tell(t, beside(3), append(two,
			step{0, ScaleAsked{Want: 2, Reason: "calm"}, "publish, note draining 1 …"},
			step{0, ScaleAsked{Want: 3, Reason: "load"}, `publish, release, note running 1 "load", … => running (1 ready, 2 ready, 3 ready)`})...)
	})
	t.Run("one ends: another is made", func(t *testing.T) {
		tell(t, beside(3), append(two, step{time.Hour, ReplicaExited{ID: 2, Reason: "x"}, "publish, note! exited 2 …, start 4, …"})...)
	})
	t.Run("a further one fails: nobody is refused, and it is tried later", func(t *testing.T) {
		tell(t, beside(2), append(up,
			step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, start 2, …"},
			step{0, StartFailed{ID: 2, Reason: "no memory"}, `publish, note! exited 2 "no memory", arm-backoff 1s => running (1 ready)`},
			step{time.Second, BackoffOver{}, "publish, start 3, …"})...)
	})
	t.Run("idle: the others serve", func(t *testing.T) {
		tell(t, beside(3), append(two, step{time.Hour, IdleOver{ID: 2, IdleFor: time.Hour}, "publish, note draining 2 …"})...)
	})
	t.Run("a parked site is not woken by it", func(t *testing.T) {
		tell(t, beside(3), step{0, ScaleAsked{Want: 2}, "nothing => parked"})
	})
	t.Run("scale.min of two", func(t *testing.T) {
		p := beside(3)
		p.Min = 2
		tell(t, p,
			step{0, WakeAsked{Reason: "scale.min"}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "release, …, start 2, …"},
			step{0, ReplicaReady{ID: 2, All: true}, "release, …"},
			step{0, ScaleAsked{Want: 1}, "nothing => running (1 ready, 2 ready)"})
	})
}

func TestAdoptDraining(t *testing.T) {
	s := newStory(beside(1))
	s.m.Adopt(s.now, 7, Found{Ready: true, Draining: true})
	s.m.Adopt(s.now, 8, Found{Ready: true})
	if got, want := s.on(AllAdopted{}), "publish => running (7 draining, 8 ready)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := s.on(DrainOver{ID: 7}); !matches("arm-drain 7 30s, watch 7 …", got) {
		t.Errorf("its time: %s", got)
	}
	alone := newStory(beside(1))
	alone.m.Adopt(alone.now, 7, Found{Ready: true, Draining: true})
	if got := alone.on(AllAdopted{}); !matches("publish, …note running 7 … => running (7 ready)", got) {
		t.Errorf("one that drains and has no successor: %s", got)
	}
}
