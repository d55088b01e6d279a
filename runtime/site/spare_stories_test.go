package site

import (
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

func withSpares(most, count int, tier detect.Tier) Policy {
	p := beside(most)
	p.Spares, p.SpareTier, p.BackoffMax = count, tier, 5*time.Minute
	return p
}

// spareUp is a site that serves with one replica, and has a frozen spare one.
var spareUp = []step{
	{0, PacketHeld{}, starts1},
	{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-spare 10s => running (1 ready)"},
	{10 * time.Second, SpareDue{}, `publish, start 2, arm-start 2 30s, note waking 2 "a spare one, ahead of its time" => running (1 ready, 2 spare starting)`},
	{0, ReplicaReady{ID: 2, All: true}, "descend 2 frozen => running (1 ready, 2 spare suspending)"},
	{0, Descended{ID: 2, Tier: detect.TierFrozen}, `note spare 2 "stands ready, frozen" => running (1 ready, 2 spare asleep)`},
}

func then(before []step, more ...step) []step { return append(append([]step{}, before...), more...) }

func TestFrozenSpare(t *testing.T) {
	p := withSpares(4, 1, detect.TierFrozen)
	joined := then(spareUp,
		step{time.Minute, ScaleAsked{Want: 2, Reason: "load"}, `publish, ascend 2, release, arm-start 2 30s, note waking 2 "load", arm-spare 10s => running (1 ready, 2 resuming)`},
		step{0, Ascended{ID: 2}, `publish, release, note running 2 "load", arm-idle 2 5m0s, arm-spare 10s => running (1 ready, 2 ready)`})
	t.Run("joins, and another one is made later", func(t *testing.T) {
		tell(t, p, then(joined, step{10 * time.Second, SpareDue{}, "publish, start 3, … => running (1 ready, 2 ready, 3 spare starting)"})...)
	})
	t.Run("is one of several that are wanted", func(t *testing.T) {
		tell(t, p, then(spareUp, step{time.Minute, ScaleAsked{Want: 4, Reason: "load"}, "publish, ascend 2, …, start 3, …, start 4, … => running (1 ready, 2 resuming, 3 starting, 4 starting)"})...)
	})
	t.Run("joins while it is being frozen", func(t *testing.T) {
		tell(t, p, then(spareUp[:4], step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, ascend 2, … => running (1 ready, 2 resuming)"})...)
	})
	t.Run("joins while it is being started", func(t *testing.T) {
		tell(t, p, then(spareUp[:3],
			step{0, ScaleAsked{Want: 2, Reason: "load"}, `publish, note waking 2 "load", arm-spare 10s => running (1 ready, 2 starting)`},
			step{0, ReplicaReady{ID: 2, All: true}, `release, note running 2 "listening", … => running (1 ready, 2 ready)`})...)
	})
	t.Run("its other ports have their time before it is frozen", func(t *testing.T) {
		tell(t, p, then(spareUp[:3],
			step{0, ReplicaReady{ID: 2}, "arm-port-grace 2 2s => running (1 ready, 2 spare ready)"},
			step{2 * time.Second, PortGraceOver{ID: 2}, "descend 2 frozen => running (1 ready, 2 spare suspending)"})...)
	})
	t.Run("joins when one of its ports is listened on", func(t *testing.T) {
		tell(t, p, then(spareUp[:3],
			step{0, ReplicaReady{ID: 2}, "arm-port-grace 2 2s …"},
			step{0, ScaleAsked{Want: 2, Reason: "load"}, `publish, release, note running 2 "load", arm-port-grace 2 2s, … => running (1 ready, 2 ready)`})...)
	})
	t.Run("none where no more may be added", func(t *testing.T) {
		tell(t, withSpares(2, 1, detect.TierFrozen), then(spareUp,
			step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, ascend 2, …"},
			step{0, Ascended{ID: 2}, `publish, release, note running 2 "load", arm-idle 2 5m0s => running (1 ready, 2 ready)`})...)
	})
	t.Run("ends when the site sleeps", func(t *testing.T) {
		tell(t, p, then(spareUp,
			step{time.Hour, IdleOver{ID: 1, IdleFor: time.Hour}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour}, "publish, stop 1, stop 2 => parking (1 stopping, 2 spare stopping)"})...)
	})
	t.Run("ends when the site is parked", func(t *testing.T) {
		tell(t, p, then(spareUp, step{0, ParkAsked{Reason: "asked", Force: true}, "publish, stop 1, stop 2 => parking (1 stopping, 2 spare stopping)"})...)
	})
	t.Run("ends with its site", func(t *testing.T) {
		tell(t, p, then(spareUp,
			step{0, Deleted{}, "refuse, publish, stop 1, stop 2 …"},
			step{0, ReplicaExited{ID: 1}, "publish, note parked … => parked (2 spare stopping)"},
			step{0, ReplicaExited{ID: 2}, "publish, gone => parked"})...)
	})
	t.Run("of an old spec", func(t *testing.T) {
		tell(t, p, then(spareUp, step{0, SpecChanged{}, `publish, stop 2, start 3, …, note circulating 1 "spec changed", arm-spare 10s => running (1 ready, 2 spare stopping, 3 starting)`})...)
	})
}

func TestDrainedSpare(t *testing.T) {
	p := withSpares(2, 1, detect.TierFrozen)
	p.Lifetime = time.Hour
	drained := then(spareUp,
		step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, ascend 2, …"},
		step{0, Ascended{ID: 2}, "publish, release, …"},
		step{time.Minute, ScaleAsked{Want: 1, Reason: "calm"}, "publish, note draining 1 …, arm-drain 1 3s, arm-spare 10s => running (1 draining, 2 ready)"},
		step{3 * time.Second, DrainOver{ID: 1}, "arm-drain 1 30s, watch 1 …"})
	kept := then(drained, step{time.Second, Emptied{ID: 1}, `publish, descend 1 frozen, note drained 1 "its last connection has ended; it is kept as the spare one" => running (1 spare suspending, 2 ready)`})
	t.Run("is kept, and joins again", func(t *testing.T) {
		tell(t, p, then(kept,
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "note spare 1 … => running (1 spare asleep, 2 ready)"},
			step{time.Minute, ScaleAsked{Want: 2, Reason: "load"}, "publish, ascend 1, …"},
			step{0, Ascended{ID: 1}, `publish, release, note running 1 "load", arm-idle 1 5m0s => running (1 ready, 2 ready)`})...)
	})
	t.Run("no other is made while it drains", func(t *testing.T) {
		tell(t, p, then(drained, step{7 * time.Second, SpareDue{}, "arm-spare 10s => running (1 draining, 2 ready)"})...)
	})
	t.Run("is as old as its start", func(t *testing.T) {
		tell(t, p, then(kept,
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "note spare 1 …"},
			step{time.Hour, LifeOver{ID: 1}, "publish, stop 1 => running (1 spare stopping, 2 ready)"})...)
	})
	t.Run("is too old for it when it has drained", func(t *testing.T) {
		tell(t, p, then(drained,
			step{0, LifeOver{ID: 1}, "nothing …"},
			step{0, Emptied{ID: 1}, "publish, stop 1, note drained … => running (1 stopping, 2 ready)"})...)
	})
	t.Run("is cut off: it has connections", func(t *testing.T) {
		tell(t, p, then(drained, step{30 * time.Second, DrainOver{ID: 1}, "publish, stop 1, note drained … => running (1 stopping, 2 ready)"})...)
	})
	t.Run("is no fresh one for a circulation", func(t *testing.T) {
		tell(t, p, then(kept,
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "note spare 1 …"},
			step{time.Minute, LifeOver{ID: 2}, `publish, start 3, …, note circulating 2 "its lifetime is over" => running (1 spare asleep, 2 ready, 3 starting)`})...)
	})
}

func TestSpareFails(t *testing.T) {
	p := withSpares(3, 2, detect.TierFrozen)
	resuming := then(spareUp[:2],
		step{10 * time.Second, SpareDue{}, "publish, start 2, …, arm-spare 10s …"},
		step{0, ReplicaReady{ID: 2, All: true}, "descend 2 frozen …"},
		step{0, Descended{ID: 2, Tier: detect.TierFrozen}, "note spare 2 …"},
		step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, ascend 2, … => running (1 ready, 2 resuming)"})
	t.Run("when it is thawed: another one is started at once", func(t *testing.T) {
		tell(t, p, then(resuming, step{0, ReplicaExited{ID: 2, Reason: "killed"}, `publish, note! exited 2 "the spare replica: killed", start 3, …, note waking 3 "one is missing" => running (1 ready, 3 starting)`})...)
	})
	t.Run("a moment after that", func(t *testing.T) {
		tell(t, p, then(resuming,
			step{0, Ascended{ID: 2}, "publish, …"},
			step{0, ReplicaExited{ID: 2, Reason: "killed"}, `publish, note! exited 2 "the spare replica: killed", start 3, … => running (1 ready, 3 starting)`})...)
	})
	t.Run("it is never thawed", func(t *testing.T) {
		tell(t, p, then(resuming, step{30 * time.Second, StartTimedOut{ID: 2}, `publish, stop 2, note! exited 2 "the spare replica: it did not run again within 30s", start 3, … => running (1 ready, 2 stopping, 3 starting)`})...)
	})
	t.Run("in its sleep: another one is made, after longer and longer", func(t *testing.T) {
		tell(t, withSpares(4, 1, detect.TierFrozen), then(spareUp,
			step{time.Minute, ReplicaExited{ID: 2, Reason: "killed"}, `publish, note! exited 2 "the spare replica: killed", arm-spare 20s => running (1 ready)`},
			step{20 * time.Second, SpareDue{}, "publish, start 3, …"},
			step{0, StartFailed{ID: 3, Reason: "disk full"}, `publish, note! exited 3 "the spare replica: disk full", arm-spare 40s => running (1 ready)`})...)
	})
	t.Run("it cannot be frozen", func(t *testing.T) {
		tell(t, withSpares(4, 1, detect.TierFrozen), then(spareUp[:4], step{0, DescendFailed{ID: 2, Tier: detect.TierFrozen, Reason: "EBUSY"}, `note not-frozen 2 "EBUSY", publish, stop 2, arm-spare 20s => running (1 ready, 2 spare stopping)`})...)
	})
	t.Run("who serves crashes young: the spare one takes over, and nobody is refused", func(t *testing.T) {
		quick := withSpares(4, 1, detect.TierFrozen)
		quick.Stable = time.Minute
		tell(t, quick,
			step{0, PacketHeld{}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-spare 1m0s …"},
			step{0, SpareDue{}, "publish, start 2, …"},
			step{0, ReplicaReady{ID: 2, All: true}, "descend 2 frozen …"},
			step{0, Descended{ID: 2, Tier: detect.TierFrozen}, "note spare 2 …"},
			step{time.Second, ReplicaExited{ID: 1, Reason: "exit code 1"}, `publish, note! exited 1 …, ascend 2, …, note waking 2 "the spare one takes over" => waking (2 resuming)`})
	})
}

func TestPreparedSpare(t *testing.T) {
	p := withSpares(4, 1, detect.TierPrepared)
	standing := then(spareUp[:2],
		step{10 * time.Second, SpareDue{}, "prepare 2 => running (1 ready)"},
		step{0, Prepared{ID: 2}, `note spare 2 "stands ready, prepared" => running (1 ready)`})
	t.Run("joins, and another one is prepared later", func(t *testing.T) {
		tell(t, p, then(standing,
			step{time.Minute, ScaleAsked{Want: 2, Reason: "load"}, "publish, start 2 from prepared, …, arm-spare 10s => running (1 ready, 2 starting)"},
			step{0, ReplicaReady{ID: 2, All: true}, `release, …, arm-spare 10s => running (1 ready, 2 ready)`},
			step{10 * time.Second, SpareDue{}, "prepare 3 => running (1 ready, 2 ready)"})...)
	})
	t.Run("dies at its gate", func(t *testing.T) {
		tell(t, p, then(standing, step{0, PrepareFailed{ID: 2, Reason: "killed"}, `note not-prepared 2 "killed", arm-spare 20s => running (1 ready)`})...)
	})
	t.Run("made room for another site's: it does not take that away again", func(t *testing.T) {
		tell(t, p, then(standing,
			step{0, PrepareFailed{ID: 2, Reason: "room", NoRoom: true}, `note not-prepared 2 "room" => running (1 ready)`},
			step{0, ScaleAsked{Want: 2, Reason: "load"}, "publish, start 3, …"},
			step{0, ReplicaReady{ID: 3, All: true}, "release, …, arm-spare 10s …"})...)
	})
	t.Run("the site sleeps cold", func(t *testing.T) {
		tell(t, p, then(standing,
			step{time.Hour, IdleOver{ID: 1, IdleFor: time.Hour}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour}, "publish, stop 1, unprepare 2 => parking (1 stopping)"})...)
	})
	t.Run("the site sleeps prepared: it is there already", func(t *testing.T) {
		sleeper := p
		sleeper.Ladder = []Rung{{detect.TierPrepared, 5 * time.Minute}}
		tell(t, sleeper, then(standing,
			step{time.Hour, IdleOver{ID: 1, IdleFor: time.Hour}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour}, "publish, stop 1 => parking (1 stopping)"},
			step{0, ReplicaExited{ID: 1}, `publish, note parked …, note prepared 2 "waits at its gate" => parked`},
			step{0, PacketHeld{}, "publish, start 2 from prepared, …"})...)
	})
}

func TestAdoptSpare(t *testing.T) {
	adopt := func(p Policy, found map[ReplicaID]Found) (*story, string) {
		s := newStory(p)
		var armed []Action
		for _, id := range []ReplicaID{7, 8} {
			armed = append(armed, s.m.Adopt(s.now, id, found[id])...)
		}
		return s, words(armed)
	}
	t.Run("sleeps on", func(t *testing.T) {
		s, _ := adopt(withSpares(4, 1, detect.TierFrozen), map[ReplicaID]Found{7: {Ready: true}, 8: {Ready: true, Asleep: detect.TierFrozen, Spare: true}})
		if got, want := s.on(AllAdopted{}), "publish => running (7 ready, 8 spare asleep)"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("is wanted no more", func(t *testing.T) {
		s, _ := adopt(beside(4), map[ReplicaID]Found{7: {Ready: true}, 8: {Ready: true, Asleep: detect.TierFrozen, Spare: true}})
		if got, want := s.on(AllAdopted{}), "publish, stop 8 => running (7 ready, 8 spare stopping)"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("takes over from one that ended while no daemon ran", func(t *testing.T) {
		s := newStory(withSpares(4, 1, detect.TierFrozen))
		s.m.Adopt(s.now, 8, Found{Ready: true, Asleep: detect.TierFrozen, Spare: true})
		if got := s.on(AllAdopted{}); !matches("publish, ascend 8, … => waking (8 resuming)", got) {
			t.Error(got)
		}
	})
	t.Run("half-made: it is ended", func(t *testing.T) {
		s, armed := adopt(withSpares(4, 1, detect.TierFrozen), map[ReplicaID]Found{7: {Ready: true}, 8: {Spare: true}})
		if got := s.on(AllAdopted{}); !matches("…stop 8", armed) || got != "publish, arm-spare 10s => running (7 ready, 8 spare stopping)" {
			t.Errorf("%s; %s", armed, got)
		}
	})
}
