package site

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// step is one event of a story and what must come of it; "…" stands for
// anything.
type step struct {
	after time.Duration // since the step before
	event Event
	want  string
}

func tell(t *testing.T, p Policy, steps ...step) *story {
	t.Helper()
	s := newStory(p)
	for i, st := range steps {
		got := s.after(st.after).on(st.event)
		if !matches(st.want, got) {
			t.Fatalf("step %d, %T:\n got %s\nwant %s", i+1, st.event, got, st.want)
		}
	}
	return s
}

func matches(pattern, s string) bool {
	for i, part := range strings.Split(pattern, "…") {
		at := strings.Index(s, part)
		if at < 0 || (i == 0 && at > 0) {
			return false
		}
		s = s[at+len(part):]
	}
	return s == "" || strings.HasSuffix(pattern, "…")
}

const (
	starts1 = "publish, start 1, …"
	starts2 = "publish, start 2, …"
)

// TestBusy: work of its own keeps a replica awake, up to a time, and is no visit.
func TestBusy(t *testing.T) {
	p := policy
	p.BusyMost = time.Minute
	const look = `arm-idle 1 30s => running (1 ready)`
	ready := []step{{0, PacketHeld{}, starts1 + " => waking (1 starting)"}, {0, ReplicaReady{ID: 1, All: true}, "release, …, arm-idle 1 5m0s => running (1 ready)"}}
	busy := func(idle time.Duration) IdleOver { return IdleOver{ID: 1, IdleFor: idle, Busy: "it works"} }
	tell(t, p, append(ready,
		step{time.Minute, busy(time.Minute), "arm-idle 1 4m0s => running (1 ready)"}, // not asked yet
		step{4 * time.Minute, busy(5 * time.Minute), `arm-idle 1 30s, note busy 1 "it works" => running (1 ready)`},
		step{30 * time.Second, busy(6 * time.Minute), look},
		step{29 * time.Second, busy(7 * time.Minute), look},
		step{time.Second, IdleOver{ID: 1, Conns: 1, Busy: "it works"}, "arm-idle 1 5m0s => running (1 ready)"},
		step{5 * time.Minute, busy(5 * time.Minute), `arm-idle 1 30s, note busy 1 "it works" => running (1 ready)`},
		step{time.Minute, busy(6 * time.Minute), "publish, recheck 1 => parking (1 closing)"},
		step{0, Rechecked{ID: 1, IdleFor: 6 * time.Minute}, "publish, stop 1 …"},
		step{0, ReplicaExited{ID: 1}, `publish, note parked "idle 5m0s, at work for 1m0s (it works)" => parked`})...)
	tell(t, policy, append(ready, // the node allows none
		step{5 * time.Minute, busy(5 * time.Minute), "publish, recheck 1 => parking (1 closing)"},
		step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "publish, stop 1 …"},
		step{0, ReplicaExited{ID: 1}, `publish, note parked "idle 5m0s" => parked`})...)
	p.Max, p.Min = 2, 0
	tell(t, p, append(ready, // nor does a replica end that works, though another serves
		step{0, ScaleAsked{Want: 2, Reason: "load"}, "…"}, step{0, ReplicaReady{ID: 2, All: true}, "…"},
		step{5 * time.Minute, busy(5 * time.Minute), `arm-idle 1 30s, note busy 1 "it works" => running (1 ready, 2 ready)`},
		step{30 * time.Second, IdleOver{ID: 1, IdleFor: 6 * time.Minute}, "publish, note draining 1 …"})...)
}

func TestWakeAndPark(t *testing.T) {
	s := tell(t, policy,
		step{0, PacketHeld{}, `publish, start 1, arm-start 1 30s, note waking 1 "first packet" => waking (1 starting)`},
		step{0, PacketHeld{}, "nothing => waking (1 starting)"}, // a second visitor: no second start
		step{time.Second, ReplicaReady{ID: 1, All: true}, `release, note running 1 "listening", arm-idle 1 5m0s => running (1 ready)`},
		step{5 * time.Minute, IdleOver{ID: 1, IdleFor: 3 * time.Minute}, "arm-idle 1 2m0s => running (1 ready)"},
		step{2 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 => parking (1 closing)"},
		step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "publish, stop 1 => parking (1 stopping)"},
		step{time.Second, ReplicaExited{ID: 1, Reason: "exit code 0"}, `publish, note parked "idle 5m0s" => parked`},
	)
	if !s.m.Idle() {
		t.Error("a machine that is as new is not idle")
	}
}

func TestPacketWhileParking(t *testing.T) {
	ready := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, "release, …"},
	}
	t.Run("before the last look", func(t *testing.T) {
		tell(t, policy, append(ready,
			step{5 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 => parking (1 closing)"},
			step{0, PacketHeld{}, "publish, release, … => running (1 ready)"},
			step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "nothing => running (1 ready)"}, // stale now
		)...)
	})
	t.Run("seen by the last look", func(t *testing.T) {
		tell(t, policy, append(ready,
			step{5 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: time.Millisecond}, "publish, release, … => running (1 ready)"},
		)...)
	})
	t.Run("while it stops", func(t *testing.T) {
		tell(t, policy, append(ready,
			step{5 * time.Minute, IdleOver{ID: 1, IdleFor: 5 * time.Minute}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1, IdleFor: 5 * time.Minute}, "publish, stop 1 …"},
			step{0, PacketHeld{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
			step{0, ReplicaReady{ID: 2, All: true}, "release, … => running (1 stopping, 2 ready)"},
			step{time.Second, ReplicaExited{ID: 1}, "publish => running (2 ready)"},
		)...)
	})
	t.Run("asked twice to park", func(t *testing.T) {
		tell(t, policy, append(ready,
			step{0, ParkAsked{Reason: "asked"}, "publish, recheck 1 => parking (1 closing)"},
			step{0, ParkAsked{Reason: "asked again"}, "nothing => parking (1 closing)"}, // connections are not cut
			step{0, Rechecked{ID: 1, Conns: 1}, "publish, release, … => running (1 ready)"},
		)...)
	})
}

func TestExitDuringStart(t *testing.T) {
	tell(t, policy,
		step{0, PacketHeld{}, starts1},
		step{time.Second, ReplicaExited{ID: 1, Reason: "exit code 127"},
			`publish, refuse, arm-backoff 1s, note! failed 1 "ended before it listened: exit code 127" => backoff refusing`},
		step{0, PacketHeld{}, "refuse => backoff refusing"},
		step{time.Second, BackoffOver{}, "publish => parked"},
		step{0, PacketHeld{}, starts2},
	)
}

func TestNeverListening(t *testing.T) {
	tell(t, policy,
		step{0, PacketHeld{}, starts1},
		step{30 * time.Second, StartTimedOut{ID: 1},
			`publish, stop 1, refuse, arm-backoff 1s, note! failed 1 "nobody listened on its ports within 30s" => parking (1 stopping) refusing`},
		step{0, ReplicaReady{ID: 1, All: true}, "nothing …"}, // too late
		step{0, PacketHeld{}, "refuse …"},
		step{time.Second, BackoffOver{}, "publish => parking (1 stopping)"},
		step{0, PacketHeld{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
		step{9 * time.Second, ReplicaExited{ID: 1}, "publish => waking (2 starting)"},
	)
}

func TestListensAndTimesOutAtOnce(t *testing.T) {
	tell(t, policy,
		step{0, PacketHeld{}, starts1},
		step{30 * time.Second, ReplicaReady{ID: 1, All: true}, "release, …"},
		step{0, StartTimedOut{ID: 1}, "nothing => running (1 ready)"},
	)
}

// The disk is full: each try fails, the waits double up to the cap, and a try
// that works gones them once it was stable.
func TestBackoffDoublesToItsCap(t *testing.T) {
	s := newStory(policy)
	for i, want := range []string{"1s", "2s", "4s", "8s", "8s", "8s"} {
		id := ReplicaID(i + 1)
		s.on(PacketHeld{})
		got := s.on(StartFailed{ID: id, Reason: "no space left on device"})
		if part := "arm-backoff " + want + ","; !strings.Contains(got, part) {
			t.Fatalf("failure %d: %s, want %s", i+1, got, part)
		}
		if s.m.Idle() {
			t.Fatalf("failure %d: the machine may be thrown away, and the next wait would begin anew", i+1)
		}
		s.on(BackoffOver{})
		if s.m.Phase() != Parked || s.m.Idle() {
			t.Fatalf("failure %d: phase %s, idle %v after the backoff; want parked, and the failures remembered",
				i+1, s.m.Phase(), s.m.Idle())
		}
	}
	s.on(PacketHeld{}, ReplicaReady{ID: 7, All: true})
	s.after(time.Minute).on(ReplicaExited{ID: 7, Reason: "exit code 0"})
	s.on(PacketHeld{})
	if got := s.on(StartFailed{ID: 8, Reason: "x"}); !strings.Contains(got, "arm-backoff 1s,") {
		t.Errorf("after a minute of service the failures before it still count: %s", got)
	}
}

func TestPersonWakesDuringBackoff(t *testing.T) {
	tell(t, policy,
		step{0, PacketHeld{}, starts1},
		step{0, StartFailed{ID: 1, Reason: "disk full"}, "publish, refuse, arm-backoff 1s, …"},
		step{0, WakeAsked{Reason: "asked"}, starts2},
		step{0, PacketHeld{}, "nothing => waking (2 starting)"},            // no refusing any more
		step{time.Second, BackoffOver{}, "nothing => waking (2 starting)"}, // the timer of before
		step{0, StartFailed{ID: 2, Reason: "disk full"}, "publish, refuse, arm-backoff 2s, …"},
	)
}

func TestCrashSoonAndCrashLate(t *testing.T) {
	for _, c := range []struct {
		name  string
		lived time.Duration
		want  string
	}{
		{"soon", 10*time.Second - 1, "publish, refuse, arm-backoff 1s, note! failed 1 … => backoff refusing"},
		{"late", 10 * time.Second, `publish, note! exited 1 "ended by SIGSEGV" => parked`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tell(t, policy,
				step{0, PacketHeld{}, starts1},
				step{time.Second, ReplicaReady{ID: 1, All: true}, "release, …"},
				step{c.lived, ReplicaExited{ID: 1, Reason: "ended by SIGSEGV"}, c.want},
			)
		})
	}
}

// A packet that passed the data path before the site was ready is read after
// the readiness: its client must not wait for a timer.
func TestHeldAfterReadyIsReleased(t *testing.T) {
	tell(t, policy,
		step{0, PacketHeld{}, starts1},
		step{0, ReplicaReady{ID: 1, All: true}, "release, …"},
		step{0, PacketHeld{}, "release => running (1 ready)"},
	)
}

func TestPortThatNobodyListensOn(t *testing.T) {
	onePort := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1}, "release, …, arm-port-grace 1 2s, …"},
	}
	t.Run("taken as ready after a while, so that its kernel refuses", func(t *testing.T) {
		tell(t, policy, append(onePort,
			step{2 * time.Second, PortGraceOver{ID: 1}, "publish, release => running (1 ready) forced"},
			step{0, PacketHeld{}, "release => running (1 ready) forced"},
		)...)
	})
	t.Run("the next replica gets its own time", func(t *testing.T) {
		tell(t, policy, append(onePort,
			step{2 * time.Second, PortGraceOver{ID: 1}, "publish, release => running (1 ready) forced"},
			step{0, ParkAsked{Force: true}, "publish, stop 1 …"},
			step{0, PacketHeld{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
		)...)
	})
	t.Run("listened on in time", func(t *testing.T) {
		tell(t, policy, append(onePort,
			step{time.Second, ReplicaReady{ID: 1, All: true}, "release => running (1 ready)"},
			step{time.Second, PortGraceOver{ID: 1}, "nothing => running (1 ready)"},
		)...)
	})
	t.Run("its visitors keep the site from being idle", func(t *testing.T) {
		tell(t, policy, append(onePort,
			step{0, IdleOver{ID: 1, IdleFor: time.Hour}, "arm-idle 1 5m0s => running (1 ready)"},
		)...)
	})
	t.Run("its visitors keep the site from being parked but by force", func(t *testing.T) {
		tell(t, policy, append(onePort,
			step{0, ParkAsked{Reason: "asked"}, "nothing => running (1 ready)"},
			step{0, ParkAsked{Reason: "asked", Force: true}, "publish, stop 1, refuse => parking (1 stopping)"},
		)...)
	})
	unvisited := []step{
		{0, WakeAsked{Reason: "asked"}, "publish, start 1, …"},
		{0, ReplicaReady{ID: 1}, "release, …, arm-port-grace 1 2s, arm-idle 1 5m0s => running (1 ready)"},
	}
	t.Run("the time begins anew when parking is called off", func(t *testing.T) {
		tell(t, policy, append(unvisited,
			step{0, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, PortGraceOver{ID: 1}, "nothing …"},
			step{0, Rechecked{ID: 1, Conns: 1}, "publish, release, …, arm-port-grace 1 2s, arm-idle 1 5m0s => running (1 ready)"},
		)...)
	})
	t.Run("heard of while closing", func(t *testing.T) {
		tell(t, policy, append(unvisited,
			step{0, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, ReplicaReady{ID: 1, All: true}, "nothing …"},
			step{0, Rechecked{ID: 1, Conns: 1}, `publish, release, note running 1 "a connection came while parking", arm-idle 1 5m0s => running (1 ready)`},
		)...)
	})
}

func TestPortClosed(t *testing.T) {
	up := []step{
		{0, PacketHeld{}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, "release, … => running (1 ready)"},
		{time.Minute, PortClosed{ID: 1}, "arm-port-grace 1 2s => running (1 ready)"},
		{0, PacketHeld{}, "release => running (1 ready)"}, // of those whose port is open
	}
	t.Run("and open again", func(t *testing.T) {
		tell(t, policy, append(up, step{time.Second, ReplicaReady{ID: 1, All: true}, "release => running (1 ready)"},
			step{time.Second, PortGraceOver{ID: 1}, "nothing => running (1 ready)"})...)
	})
	t.Run("for good", func(t *testing.T) {
		tell(t, policy, append(up, step{2 * time.Second, PortGraceOver{ID: 1}, "publish, release => running (1 ready) forced"})...)
	})
	t.Run("by one that ends", func(t *testing.T) {
		tell(t, policy, append(up[:2], step{0, ParkAsked{Force: true}, "publish, stop 1 …"}, step{0, PortClosed{ID: 1}, "nothing …"})...)
	})
}

func TestSpecChanged(t *testing.T) {
	t.Run("running: the next when the old one has gone", func(t *testing.T) {
		tell(t, policy,
			step{0, PacketHeld{}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "release, …"},
			step{0, SpecChanged{}, "publish, stop 1 => parking (1 stopping)"},
			step{time.Second, ReplicaExited{ID: 1}, "publish, start 2, … => waking (2 starting)"},
		)
	})
	t.Run("running: at once when a visitor comes", func(t *testing.T) {
		tell(t, policy,
			step{0, PacketHeld{}, starts1},
			step{0, ReplicaReady{ID: 1, All: true}, "release, …"},
			step{0, SpecChanged{}, "publish, stop 1 => parking (1 stopping)"},
			step{0, PacketHeld{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
			step{time.Second, ReplicaExited{ID: 1}, "publish => waking (2 starting)"},
		)
	})
	t.Run("waking for a visitor: at once", func(t *testing.T) {
		tell(t, policy,
			step{0, PacketHeld{}, starts1},
			step{0, SpecChanged{}, "publish, stop 1, start 2, … => waking (1 stopping, 2 starting)"},
			step{time.Second, StartFailed{ID: 1, Reason: "context canceled"}, "publish => waking (2 starting)"},
		)
	})
	t.Run("in backoff: may be tried at once, and the failures are of the old spec", func(t *testing.T) {
		tell(t, policy,
			step{0, PacketHeld{}, starts1},
			step{0, StartFailed{ID: 1}, "publish, refuse, arm-backoff 1s, …"},
			step{0, SpecChanged{}, "publish => parked"},
			step{0, PacketHeld{}, starts2},
			step{0, StartFailed{ID: 2}, "publish, refuse, arm-backoff 1s, …"},
		)
	})
	t.Run("stopping to be parked: stays so", func(t *testing.T) {
		tell(t, policy,
			step{0, WakeAsked{}, starts1},
			step{0, ParkAsked{Reason: "asked"}, "publish, stop 1 …"},
			step{0, SpecChanged{}, "nothing …"},
			step{0, ReplicaExited{ID: 1}, `publish, note parked "asked" => parked`},
		)
	})
	t.Run("parked before the next one started", func(t *testing.T) {
		tell(t, policy,
			step{0, WakeAsked{}, starts1},
			step{0, SpecChanged{}, "publish, stop 1 …"},
			step{0, ParkAsked{Reason: "asked"}, "nothing …"},
			step{0, ReplicaExited{ID: 1}, `publish, note parked "spec changed" => parked`},
		)
	})
}

func TestDeletedForgetsOnce(t *testing.T) {
	for _, g := range given {
		t.Run(g.name, func(t *testing.T) {
			s := g.way()
			gones := 0
			for _, ev := range []Event{
				Deleted{}, PacketHeld{}, WakeAsked{}, BackoffOver{}, SpecChanged{}, Rechecked{ID: 1, Conns: 1},
				ReplicaReady{ID: 1, All: true}, ReplicaReady{ID: 2, All: true}, Deleted{},
				ReplicaExited{ID: 1}, StartFailed{ID: 2}, ReplicaExited{ID: 2}, Deleted{}, ReplicaExited{ID: 1},
			} {
				left := len(s.m.Replicas())
				acts := s.m.Handle(s.now, ev)
				for _, a := range acts {
					switch a.(type) {
					case Start:
						t.Errorf("%T started a replica of a deleted site", ev)
					case Release:
						t.Errorf("%T released to a deleted site", ev)
					case Gone:
						gones++
						if n := len(s.m.Replicas()); n > 0 {
							t.Errorf("%T: gone with %d replicas left", ev, n)
						}
					}
				}
				if left > 0 && len(s.m.Replicas()) > left {
					t.Errorf("%T made a replica", ev)
				}
			}
			want := 1
			if g.name == "deleted, gone" {
				want = 0 // it was gone on the way here
			}
			if gones != want {
				t.Errorf("told gone %d times, want %d", gones, want)
			}
		})
	}
}

func TestScaleMin(t *testing.T) {
	one := withMin(1)
	ready := []step{
		{0, WakeAsked{Reason: "scale.min"}, starts1},
		{0, ReplicaReady{ID: 1, All: true}, `release, note running 1 "listening" => running (1 ready)`}, // no idle timer
	}
	t.Run("is not idle", func(t *testing.T) {
		tell(t, one, append(ready, step{time.Hour, IdleOver{ID: 1, IdleFor: time.Hour}, "nothing => running (1 ready)"})...)
	})
	t.Run("restarted after a late crash", func(t *testing.T) {
		tell(t, one, append(ready,
			step{time.Hour, ReplicaExited{ID: 1, Reason: "exit code 1"}, `publish, note! exited 1 "exit code 1", start 2, … => waking (2 starting)`})...)
	})
	t.Run("restarted after the backoff", func(t *testing.T) {
		tell(t, one, append(ready,
			step{0, ReplicaExited{ID: 1, Reason: "exit code 1"}, "publish, refuse, arm-backoff 1s, …"},
			step{time.Second, BackoffOver{}, "publish, start 2, …"})...)
	})
	t.Run("restarted after the backoff, while the one that timed out stops", func(t *testing.T) {
		tell(t, one,
			step{0, WakeAsked{Reason: "scale.min"}, starts1},
			step{30 * time.Second, StartTimedOut{ID: 1}, "publish, stop 1, refuse, arm-backoff 1s, …"},
			step{time.Second, BackoffOver{}, "publish, start 2, … => waking (1 stopping, 2 starting)"},
			step{9 * time.Second, ReplicaExited{ID: 1}, "publish => waking (2 starting)"},
		)
	})
	t.Run("restarted after the spec changed in backoff", func(t *testing.T) {
		tell(t, one,
			step{0, WakeAsked{Reason: "scale.min"}, starts1},
			step{0, StartFailed{ID: 1}, "publish, refuse, …"},
			step{0, SpecChanged{}, "publish, start 2, …"},
		)
	})
	t.Run("restarted after the spec changed while the one that timed out stops", func(t *testing.T) {
		tell(t, one,
			step{0, WakeAsked{Reason: "scale.min"}, starts1},
			step{0, StartTimedOut{ID: 1}, "publish, stop 1, refuse, …"},
			step{0, SpecChanged{}, "publish => parking (1 stopping)"},
			step{0, ReplicaExited{ID: 1}, "publish, start 2, … => waking (2 starting)"},
		)
	})
	t.Run("parked by a person: stays so until somebody comes", func(t *testing.T) {
		tell(t, one, append(ready,
			step{0, ParkAsked{Reason: "asked"}, "publish, recheck 1 …"},
			step{0, Rechecked{ID: 1}, "publish, stop 1 …"},
			step{0, ReplicaExited{ID: 1}, `publish, note parked "asked" => parked`},
			step{time.Hour, PacketHeld{}, starts2},
			step{0, ReplicaReady{ID: 2, All: true}, "release, …"},
			step{time.Hour, ReplicaExited{ID: 2}, "publish, …, start 3, …"})...)
	})
	t.Run("parked by a person in backoff", func(t *testing.T) {
		tell(t, one,
			step{0, WakeAsked{Reason: "scale.min"}, starts1},
			step{0, StartFailed{ID: 1}, "publish, refuse, …"},
			step{0, ParkAsked{Reason: "asked"}, "nothing …"},
			step{time.Second, BackoffOver{}, "publish => parked"},
		)
	})
	t.Run("deleted: not restarted", func(t *testing.T) {
		tell(t, one, append(ready,
			step{0, Deleted{}, "refuse, publish, stop 1 …"},
			step{0, ReplicaExited{ID: 1}, `publish, note parked "deleted", gone => parked`})...)
	})
}

func TestIdleNever(t *testing.T) {
	p := policy
	p.Ladder = nil
	tell(t, p,
		step{0, PacketHeld{}, starts1},
		step{0, ReplicaReady{ID: 1, All: true}, `release, note running 1 "listening" => running (1 ready)`},
		step{0, IdleOver{ID: 1, IdleFor: time.Hour}, "nothing => running (1 ready)"},
	)
}

func TestAdopt(t *testing.T) {
	t.Run("ready", func(t *testing.T) {
		s := newStory(policy)
		got := words(s.m.Adopt(s.now, 7, Found{Ready: true})) + " => " + state(s.m)
		if want := "arm-port-grace 7 2s, arm-idle 7 5m0s => running (7 ready)"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := s.on(PortGraceOver{ID: 7}); got != "publish, release => running (7 ready) forced" {
			t.Errorf("a port that the dead daemon had waited for: %s", got)
		}
	})
	t.Run("starting", func(t *testing.T) {
		s := newStory(policy)
		got := words(s.m.Adopt(s.now, 7, Found{})) + " => " + state(s.m)
		if want := "arm-start 7 30s => waking (7 starting)"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := s.on(ReplicaReady{ID: 7, All: true}); !strings.HasPrefix(got, "release, ") {
			t.Errorf("its readiness: %s", got)
		}
	})
	// the daemon died while it parked one, which takes its time to end
	t.Run("ending", func(t *testing.T) {
		s := newStory(policy)
		s.m.Adopt(s.now, 7, Found{})
		if got, want := s.on(ReplicaExited{ID: 7, Reason: "exit code 0"}), `publish, note parked "found when it did not listen, and ended: exit code 0" => parked`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		visited := newStory(policy)
		visited.m.Adopt(visited.now, 7, Found{})
		visited.on(PacketHeld{})
		if got := visited.on(ReplicaExited{ID: 7, Reason: "exit code 0"}); !matches("publish, start 1, …waking 1 …", got) {
			t.Errorf("with a visitor: %s", got)
		}
		if got := visited.on(ReplicaExited{ID: 1, Reason: "exit code 3"}); !matches("publish, refuse, …note! failed 1 …", got) {
			t.Errorf("one that ends again: %s", got)
		}
	})
	// the daemon died while it replaced one by another
	t.Run("one ready and one starting", func(t *testing.T) {
		s := newStory(withMin(1))
		s.m.Adopt(s.now, 7, Found{Ready: true})
		s.m.Adopt(s.now, 8, Found{})
		s.on(PortGraceOver{ID: 7})
		if v := s.m.View(); !forced(v, 7) || forced(v, 8) {
			t.Errorf("view %+v: forced ports must not send visitors to one that does not listen yet", v)
		}
		if got, want := s.on(ReplicaReady{ID: 8, All: true}), `release, note running 8 "listening", publish, note draining 7 "found more or less than are wanted", arm-drain 7 3s => running (7 draining, 8 ready) forced`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got, want := s.on(ReplicaExited{ID: 7, Reason: "x"}), `publish, note exited 7 "while draining: x" => running (8 ready)`; got != want {
			t.Errorf("one is left, nobody is refused:\ngot  %s\nwant %s", got, want)
		}
	})
}

func TestSetPolicy(t *testing.T) {
	s := told(policy, PacketHeld{})
	p := policy
	p.Ladder = []Rung{{detect.TierCold, time.Second}}
	s.m.SetPolicy(p)
	if got := s.on(ReplicaReady{ID: 1, All: true}); !strings.Contains(got, "arm-idle 1 1s") {
		t.Errorf("the new idle time is not used: %s", got)
	}
}

func TestUnknownEventPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an event that no case names was passed over")
		}
	}()
	newMachine(policy).Handle(now, nil)
}
