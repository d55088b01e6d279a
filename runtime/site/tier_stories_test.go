package site

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// deep is a site that sleeps ever deeper.
func deep() Policy {
	p := policy
	p.Ladder = []Rung{
		{detect.TierFrozen, 10 * time.Second}, {detect.TierReclaimed, time.Minute}, {detect.TierCheckpointed, 5 * time.Minute}, {detect.TierCold, time.Hour},
	}
	return p
}

func only(tiers ...Rung) Policy {
	p := policy
	p.Ladder = tiers
	return p
}

// upTo brings a site of policy deep to a tier.
func upTo(tier detect.Tier) []step {
	steps := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-idle 1 10s => running (1 ready)"},
	}
	if tier == detect.TierRunning {
		return steps
	}
	steps = append(steps,
		step{10 * time.Second, IdleOver{ID: 1, IdleFor: 10 * time.Second}, "publish, recheck 1 => parking (1 closing) asleep"},
		step{0, Rechecked{ID: 1, IdleFor: 10 * time.Second}, "descend 1 frozen => parking (1 suspending) asleep"},
		step{0, Descended{ID: 1, Tier: detect.TierFrozen}, `note frozen 1 "idle 10s", arm-idle 1 50s => parked (1 asleep) asleep`})
	if tier == detect.TierFrozen {
		return steps
	}
	return append(steps,
		step{50 * time.Second, IdleOver{ID: 1, IdleFor: time.Minute}, "publish, recheck 1 => parking (1 closing) asleep"},
		step{0, Rechecked{ID: 1, IdleFor: time.Minute}, "descend 1 reclaimed => parking (1 suspending) asleep"},
		step{0, Descended{ID: 1, Tier: detect.TierReclaimed}, `note reclaimed 1 "idle 1m0s", arm-idle 1 4m0s => parked (1 asleep) asleep`})
}

func TestLadderToTheEnd(t *testing.T) {
	s := tell(t, deep(), append(upTo(detect.TierReclaimed),
		step{4 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 => parking (1 closing)"},
		step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "descend 1 checkpointed => parking (1 suspending)"},
		step{0, Descended{ID: 1, Tier: detect.TierCheckpointed}, "publish, kill 1 => parking (1 stopping)"},
		step{0, ReplicaExited{ID: 1, Reason: "ended by SIGKILL"}, `publish, note checkpointed "idle 5m0s" => parked`},
	)...)
	if !s.m.Idle() {
		t.Error("a checkpointed site has a machine to be kept")
	}
}

// A packet in each state between awake and asleep: the replica runs again, and what it was being put through is not heard of.
func TestKnocks(t *testing.T) {
	closing := step{0, IdleOver{ID: 1, IdleFor: 10 * time.Second}, "publish, recheck 1 …"}
	suspending := step{0, Rechecked{ID: 1, IdleFor: 10 * time.Second}, "descend 1 frozen …"}
	ascends := `publish, ascend 1, release, arm-start 1 30s, note waking 1 "a packet came" => waking (1 resuming)`
	risen := step{0, Ascended{ID: 1}, `publish, release, note running 1 "a packet came", arm-idle 1 10s => running (1 ready)`}
	t.Run("before it is marked", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), step{0, Knocked{ID: 1}, "nothing => running (1 ready)"})...)
	})
	t.Run("marked", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), closing,
			step{0, Knocked{ID: 1}, `publish, release, note running 1 "a packet came", arm-idle 1 10s => running (1 ready)`},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour}, "nothing => running (1 ready)"})...)
	})
	t.Run("seen by the counters", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), closing,
			step{0, Rechecked{ID: 1, Conns: 1}, `publish, release, note running 1 "a connection came while parking", …`})...)
	})
	t.Run("freezing", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), closing, suspending, step{0, Knocked{ID: 1}, ascends},
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "nothing => waking (1 resuming)"}, risen)...)
	})
	t.Run("freezing failed at the same time", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), closing, suspending, step{0, Knocked{ID: 1}, ascends},
			step{0, DescendFailed{ID: 1, Tier: detect.TierFrozen}, "nothing => waking (1 resuming)"}, risen)...)
	})
	t.Run("frozen, twice", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierFrozen), step{0, Knocked{ID: 1}, ascends},
			step{0, Knocked{ID: 1}, "nothing => waking (1 resuming)"}, risen)...)
	})
	t.Run("reclaimed", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierReclaimed), step{0, Knocked{ID: 1}, ascends}, risen)...)
	})
	dumping := append(upTo(detect.TierReclaimed),
		step{4 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 …"},
		step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "descend 1 checkpointed …"})
	t.Run("dumping", func(t *testing.T) {
		tell(t, deep(), append(dumping,
			step{0, PacketHeld{}, `publish, ascend 1, release, arm-start 1 30s, note waking 1 "a packet came while parking" => waking (1 resuming)`},
			step{0, Descended{ID: 1, Tier: detect.TierCheckpointed}, "nothing => waking (1 resuming)"},
			step{0, Ascended{ID: 1}, "publish, release, …"})...)
	})
	t.Run("dumped, ending", func(t *testing.T) {
		tell(t, deep(), append(dumping,
			step{0, Descended{ID: 1, Tier: detect.TierCheckpointed}, "publish, kill 1 …"},
			step{0, PacketHeld{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
			step{0, ReplicaExited{ID: 1}, "publish => waking (2 starting)"})...)
	})
}

func TestThawFails(t *testing.T) {
	tell(t, deep(), append(upTo(detect.TierFrozen),
		step{time.Hour, Knocked{ID: 1}, "publish, ascend 1, …"},
		step{30 * time.Second, StartTimedOut{ID: 1}, `publish, stop 1, refuse, arm-backoff 1s, note! failed 1 "it did not run again within 30s" …`})...)
	tell(t, deep(), append(upTo(detect.TierFrozen),
		step{time.Hour, ReplicaExited{ID: 1, Reason: "ended by SIGKILL"}, `publish, note parked "ended in its sleep: ended by SIGKILL" => parked`})...)
}

func TestTierThatCannotBeReached(t *testing.T) {
	t.Run("the next rung is taken", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierReclaimed),
			step{4 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "descend 1 checkpointed …"},
			step{
				0, DescendFailed{ID: 1, Tier: detect.TierCheckpointed, Reason: "io_uring"},
				`publish, note not-checkpointed 1 "io_uring", arm-idle 1 59m0s => parked (1 asleep) asleep`,
			},
			step{59 * time.Minute, IdleOver{ID: 1, IdleFor: time.Hour}, "publish, recheck 1 => parking (1 closing)"},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour}, "publish, stop 1 …"})...)
	})
	t.Run("the only one is tried again", func(t *testing.T) {
		tell(t, only(Rung{detect.TierFrozen, time.Minute}),
			step{0, PacketHeld{}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-idle 1 1m0s …"},
			step{time.Minute, IdleOver{ID: 1, IdleFor: time.Minute}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Minute}, "descend 1 frozen …"},
			step{0, DescendFailed{ID: 1, Tier: detect.TierFrozen, Reason: "EBUSY"}, `publish, note not-frozen 1 "EBUSY", release, arm-idle 1 1m0s => running (1 ready)`},
		)
	})
	t.Run("somebody wants it to sleep: it ends", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning),
			step{time.Hour, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1}, "descend 1 checkpointed …"},
			step{0, DescendFailed{ID: 1, Tier: detect.TierCheckpointed, Reason: "io_uring"}, "publish, note not-checkpointed …, recheck 1 …"},
			step{0, Rechecked{ID: 1}, "publish, stop 1 …"})...)
	})
}

func TestPrepared(t *testing.T) {
	p := only(Rung{detect.TierPrepared, time.Minute}, Rung{detect.TierCold, time.Hour})
	way := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, "release, …, arm-idle 1 1m0s …"},
		{time.Minute, IdleOver{ID: 1, IdleFor: time.Minute}, "publish, recheck 1 …"},
		{0, Rechecked{ID: 1, IdleFor: time.Minute}, "publish, stop 1 …"},
		{0, ReplicaExited{ID: 1}, `publish, note parked "idle 1m0s", prepare 2 => parked`},
	}
	standing := append(way, step{0, Prepared{ID: 2}, `note prepared 2 "waits at its gate", arm-idle 2 59m0s => parked`})
	t.Run("opened", func(t *testing.T) {
		tell(t, p, append(standing, step{0, PacketHeld{}, "publish, start 2 from prepared, arm-start 2 30s, … => waking (2 starting)"})...)
	})
	t.Run("opened on its way", func(t *testing.T) {
		tell(t, p, append(way,
			step{0, PacketHeld{}, "publish, start 2 from prepared, …"},
			step{0, Prepared{ID: 2}, "nothing => waking (2 starting)"},
			step{0, ReplicaReady{ID: 2, All: true}, "release, …"})...)
	})
	t.Run("gone", func(t *testing.T) {
		tell(t, p, append(standing,
			step{0, PrepareFailed{ID: 2, Reason: "no memory"}, `note not-prepared 2 "no memory" => parked`},
			step{0, PacketHeld{}, "publish, start 3, …"})...)
	})
	t.Run("nobody comes", func(t *testing.T) {
		tell(t, p, append(standing, step{time.Hour, IdleOver{ID: 2, IdleFor: 1 << 62}, `unprepare 2, note parked "nobody came while it was prepared" => parked`})...)
	})
	t.Run("of an old spec", func(t *testing.T) {
		tell(t, p, append(standing, step{0, SpecChanged{}, "unprepare 2, prepare 3 => parked"})...)
	})
	t.Run("deleted", func(t *testing.T) {
		tell(t, p, append(standing, step{0, Deleted{}, "refuse, unprepare 2, gone => parked"})...)
	})
}

func TestAdoptAsleep(t *testing.T) {
	s := newStory(deep())
	if got, want := words(s.m.Adopt(s.now, 7, Found{Ready: true, Asleep: detect.TierFrozen}))+" => "+state(s.m), "arm-idle 7 50s => parked (7 asleep) asleep"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := s.on(AllAdopted{}, Knocked{ID: 7}); !matches("publish, ascend 7, …", got) {
		t.Errorf("its knock: %s", got)
	}
}

// A daemon that ends takes its gates with it: the next one has them made anew.
func TestPreparedAgain(t *testing.T) {
	p := policy
	p.Ladder = []Rung{{detect.TierPrepared, time.Minute}}
	t.Run("parked", func(t *testing.T) {
		tell(t, p,
			step{0, PrepareAsked{}, "prepare 1 => parked"},
			step{0, PrepareAsked{}, "nothing => parked"},
			step{0, Prepared{ID: 1}, "note prepared 1 … => parked"},
		)
	})
	t.Run("woken meanwhile", func(t *testing.T) {
		tell(t, p,
			step{0, PacketHeld{}, starts1},
			step{0, PrepareAsked{}, "nothing => waking (1 starting)"},
		)
	})
	t.Run("the ladder has changed", func(t *testing.T) {
		tell(t, policy, step{0, PrepareAsked{}, "nothing => parked"})
	})
}

// Who parks a site by hand does not have to wait for the next rung, though idleness put it where it is.
func TestParkFromSleep(t *testing.T) {
	tell(t, deep(), append(upTo(detect.TierFrozen),
		step{time.Second, ParkAsked{Reason: "by hand", Tier: detect.TierCold}, "publish, recheck 1 => parking (1 closing)"},
		step{0, Rechecked{ID: 1, IdleFor: 11 * time.Second}, "publish, stop 1 => parking (1 stopping)"},
		step{0, ReplicaExited{ID: 1}, `publish, note parked "by hand" => parked`})...)
}

// A replica that was replaced while it was made to run again, and is needed after all, serves when it runs.
func TestReopenedBeforeItRuns(t *testing.T) {
	p := deep()
	p.Overlap = true
	s := tell(t, p, append(upTo(detect.TierRunning),
		step{0, CirculateAsked{Reason: "asked"}, "publish, start 2, …"},
		step{time.Second, IdleOver{ID: 1, IdleFor: 10 * time.Second}, "publish, recheck 1 …"},
		step{0, Rechecked{ID: 1, IdleFor: 10 * time.Second}, "descend 1 frozen …"},
		step{0, ReplicaReady{ID: 2}, "release, …"},
		step{0, Knocked{ID: 1}, "publish, ascend 1, …"},
		step{0, PortGraceOver{ID: 2}, "publish, release, note draining 1 …"},
		step{0, ReplicaExited{ID: 2, Reason: "exit code 1"}, `publish, …`},
	)...)
	if got := s.on(Ascended{ID: 1}); !strings.HasSuffix(got, "=> running (1 ready)") {
		t.Errorf("it runs: %s", got)
	}
}

// TestOutdated: what sleeps with volumes that are others by now serves nobody any more; a replica that somebody is connected to serves
// until the next one does.
func TestOutdated(t *testing.T) {
	const why = "/srv/current is something else now"
	tell(t, deep(), append(upTo(detect.TierFrozen),
		step{0, Outdated{ID: 1, Reason: why}, `note outdated 1 "/srv/current is something else now", publish, stop 1 => parking (1 stopping)`},
		step{0, PacketHeld{}, "publish, start 2, arm-start 2 30s, note waking 2 \"first packet\" => waking (1 stopping, 2 starting)"},
		step{0, ReplicaExited{ID: 1, Reason: "ended"}, "publish => waking (2 starting)"})...)
	tell(t, deep(), append(upTo(detect.TierReclaimed),
		step{0, Outdated{ID: 1, Reason: why}, "…"},
		step{0, ReplicaExited{ID: 1, Reason: "ended"}, `publish, note parked "/srv/current is something else now" => parked`})...)
	tell(t, deep(), append(upTo(detect.TierRunning), step{0, Outdated{ID: 1, Reason: why}, "nothing => running (1 ready)"})...)

	overlap := deep()
	overlap.Overlap = true
	tell(t, overlap, append(upTo(detect.TierFrozen),
		step{0, Knocked{ID: 1, Outdated: why}, "publish, ascend 1, …"},
		step{0, Ascended{ID: 1}, `publish, …, start 2, arm-start 2 30s, note waking 2 "/srv/current is something else now", note circulating 1 "/srv/current is something else now" => running (1 ready, 2 starting)`},
		step{0, ReplicaReady{ID: 2, All: true}, "…, note draining 1 …"})...)

	s := newStory(only(Rung{detect.TierPrepared, 10 * time.Second}))
	s.on(PacketHeld{}, ReplicaReady{ID: 1, All: true}, IdleOver{ID: 1, IdleFor: time.Minute}, Rechecked{ID: 1, IdleFor: time.Minute}, ReplicaExited{ID: 1})
	if got := s.on(Prepared{ID: 2}, Outdated{ID: 2, Reason: why}); !matches(`unprepare 2, note outdated 2 "/srv/current is something else now" => parked`, got) {
		t.Error(got)
	}
	if got := s.on(PacketHeld{}); !matches("publish, start 3, …", got) { // not from its gate
		t.Error(got)
	}
}

// TestEvicted: a replica that sleeps goes deeper before its time, from where it goes on to its next rung; one
// that is awake, is there already or has a visitor does not.
func TestEvicted(t *testing.T) {
	to := func(tier detect.Tier) step {
		return step{0, Evicted{ID: 1, Tier: tier, Reason: "memory is short"}, "publish, recheck 1 …"}
	}
	t.Run("to the next tier", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierFrozen), to(detect.TierReclaimed),
			step{0, Rechecked{ID: 1, IdleFor: 20 * time.Second}, "descend 1 reclaimed => parking (1 suspending) asleep"},
			step{0, Descended{ID: 1, Tier: detect.TierReclaimed}, `note reclaimed 1 "memory is short", arm-idle 1 4m0s => parked (1 asleep) asleep`},
			step{0, Evicted{ID: 1, Tier: detect.TierReclaimed}, "nothing => parked (1 asleep) asleep"},
			step{0, Evicted{ID: 1, Tier: detect.TierCold, Reason: "memory is short"}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 30 * time.Second}, "publish, stop 1 …"})...)
	})
	t.Run("a tier that is no rung", func(t *testing.T) {
		tell(t, only(Rung{detect.TierFrozen, 10 * time.Second}), append(upTo(detect.TierRunning),
			step{10 * time.Second, IdleOver{ID: 1, IdleFor: 10 * time.Second}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 10 * time.Second}, "descend 1 frozen …"},
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, `note frozen 1 "idle 10s" => parked (1 asleep) asleep`},
			to(detect.TierReclaimed),
			step{0, Rechecked{ID: 1, IdleFor: 10 * time.Second}, "descend 1 reclaimed …"},
			step{0, Knocked{ID: 1}, "publish, ascend 1, …"})...)
	})
	t.Run("somebody comes", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierFrozen), to(detect.TierReclaimed),
			step{0, Rechecked{ID: 1, Conns: 1}, "publish, ascend 1, …"})...)
	})
	t.Run("awake", func(t *testing.T) {
		tell(t, deep(), append(upTo(detect.TierRunning), step{0, Evicted{ID: 1, Tier: detect.TierCold}, "nothing => running (1 ready)"})...)
	})
}

// TestSurplus: one of several that serve is given back when it was idle for longer than the first rung takes.
func TestSurplus(t *testing.T) {
	p := only(Rung{detect.TierFrozen, 5 * time.Second}, Rung{detect.TierCold, time.Hour})
	p.Max, p.Surplus = 2, 5*time.Minute
	tell(t, p,
		step{0, PacketHeld{}, starts1},
		step{0, ReplicaReady{ID: 1, All: true}, "release, …"},
		step{0, ScaleAsked{Want: 2, Reason: "many come"}, "publish, start 2, …"},
		step{0, ReplicaReady{ID: 2, All: true}, "release, …"},
		step{5 * time.Second, IdleOver{ID: 2, IdleFor: 5 * time.Second}, "arm-idle 2 4m55s => running (1 ready, 2 ready)"},
		step{295 * time.Second, IdleOver{ID: 2, IdleFor: 5 * time.Minute}, "publish, … => running (1 ready, 2 draining)"},
		step{0, IdleOver{ID: 1, IdleFor: 5 * time.Second}, "publish, recheck 1 …"})
}

// TestWakeForNobody: a wake of which no visitor comes is over after Policy.Unused, whatever the ladder says; one that somebody uses, and one
// that a person has asked for, has all of its time.
func TestWakeForNobody(t *testing.T) {
	p := policy
	p.Unused = 10 * time.Second
	woken := []step{{0, PacketHeld{}, starts1}, {2 * time.Second, ReplicaReady{ID: 1, All: true}, "…, arm-idle 1 10s => running (1 ready)"}}
	over := func(idle, arrived time.Duration) IdleOver { return IdleOver{ID: 1, IdleFor: idle, Arrived: arrived} }

	t.Run("nobody comes", func(t *testing.T) {
		tell(t, p, append(woken,
			step{10 * time.Second, over(12*time.Second, 10*time.Second), "publish, recheck 1 => parking (1 closing)"},
			step{0, Rechecked{ID: 1, IdleFor: 12 * time.Second}, "publish, stop 1 => parking (1 stopping)"})...)
	})
	t.Run("somebody came", func(t *testing.T) {
		tell(t, p, append(woken,
			step{10 * time.Second, over(4*time.Second, 4*time.Second), "arm-idle 1 4m56s => running (1 ready)"},
			step{296 * time.Second, over(300*time.Second, 300*time.Second), "publish, recheck 1 …"})...)
	})
	t.Run("somebody was there for a moment, and the timer is late", func(t *testing.T) {
		tell(t, p, append(woken,
			step{10080 * time.Millisecond, over(10070*time.Millisecond, 0), "arm-idle 1 4m49.93s => running (1 ready)"})...)
	})
	t.Run("somebody is there", func(t *testing.T) {
		tell(t, p, append(woken, step{10 * time.Second, IdleOver{ID: 1, Conns: 1, IdleFor: 4 * time.Second}, "arm-idle 1 5m0s => running (1 ready)"})...)
	})
	t.Run("looked at before its time", func(t *testing.T) {
		tell(t, p, append(woken, step{time.Second, over(time.Hour, 0), "arm-idle 1 9s => running (1 ready)"})...)
	})
	t.Run("who comes at the last moment is waited for, but not for ever", func(t *testing.T) {
		tell(t, p, append(woken,
			step{10 * time.Second, over(12*time.Second, time.Second), "arm-idle 1 2s => running (1 ready)"},
			step{2 * time.Second, over(14*time.Second, 500*time.Millisecond), "arm-idle 1 2.5s => running (1 ready)"},
			step{3 * time.Second, over(17*time.Second, 500*time.Millisecond), "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 17 * time.Second, Arrived: time.Millisecond}, "publish, stop 1 …"})...)
	})
	t.Run("who comes while it is put to sleep", func(t *testing.T) {
		tell(t, p, append(woken,
			step{10 * time.Second, over(12*time.Second, 0), "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 12 * time.Second, Arrived: time.Millisecond}, "publish, release, …, arm-idle 1 10s => running (1 ready)"})...)
	})
	t.Run("who comes while a person puts it to sleep", func(t *testing.T) {
		tell(t, p, append(woken,
			step{time.Hour, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Hour, Arrived: time.Millisecond}, `publish, release, note running 1 "a connection came while parking", …`},
			step{time.Hour, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 2 * time.Hour, Arrived: time.Minute}, "publish, stop 1 …"})...)
	})
	t.Run("asked for by a person", func(t *testing.T) {
		tell(t, p,
			step{0, WakeAsked{Reason: "asked"}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "…, arm-idle 1 5m0s => running (1 ready)"})
	})
	t.Run("a knock, and somebody who is gone before it is awake", func(t *testing.T) {
		q := p
		q.Ladder = []Rung{{detect.TierFrozen, time.Minute}, {detect.TierCold, time.Hour}}
		tell(t, q,
			step{0, WakeAsked{Reason: "asked"}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "…"},
			step{time.Minute, over(time.Minute, 0), "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Minute}, "descend 1 frozen …"},
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "…, arm-idle 1 59m0s …"},
			step{time.Minute, Knocked{ID: 1}, "…"},
			step{100 * time.Millisecond, Ascended{ID: 1}, "…, arm-idle 1 10s => running (1 ready)"},
			step{10 * time.Second, over(10050*time.Millisecond, 0), "arm-idle 1 49.95s => running (1 ready)"})
	})
	t.Run("a knock", func(t *testing.T) {
		q := p
		q.Ladder = []Rung{{detect.TierFrozen, time.Minute}, {detect.TierCold, time.Hour}}
		tell(t, q,
			step{0, WakeAsked{Reason: "asked"}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "…"},
			step{time.Minute, over(time.Minute, 0), "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Minute}, "descend 1 frozen …"},
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "…, arm-idle 1 59m0s …"},
			step{time.Minute, Knocked{ID: 1}, "…"},
			step{0, Ascended{ID: 1}, "…, arm-idle 1 10s => running (1 ready)"},
			step{10 * time.Second, over(2*time.Minute, 10*time.Second), "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 2 * time.Minute}, "descend 1 frozen …"},
			step{0, Descended{ID: 1, Tier: detect.TierFrozen}, "…, arm-idle 1 59m0s …"})
	})
}
