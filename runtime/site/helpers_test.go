package site

import (
	"fmt"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
)

// now is when all tables happen; stories count from it.
var now = time.Date(2026, 11, 22, 10, 31, 7, 0, time.UTC)

var policy = Policy{
	Ladder: []Rung{{detect.TierCold, 5 * time.Minute}}, StartTimeout: 30 * time.Second, PortGrace: 2 * time.Second,
	Linger: 3 * time.Second, Drain: 30 * time.Second, Stable: 10 * time.Second, BackoffMin: time.Second, BackoffMax: 8 * time.Second,
}

func withMin(n int) Policy {
	p := policy
	p.Min = n
	return p
}

// newMachine allocates replica ids from 1.
func newMachine(p Policy) *Machine {
	var last ReplicaID
	return New(p, func() ReplicaID { last++; return last })
}

// story is a machine with a clock, told in events.
type story struct {
	m   *Machine
	now time.Time
}

func newStory(p Policy) *story { return &story{m: newMachine(p), now: now} }

// after lets time pass.
func (s *story) after(d time.Duration) *story {
	s.now = s.now.Add(d)
	return s
}

// on hands in events and returns what the last of them led to, in words.
func (s *story) on(events ...Event) string {
	var out string
	for _, ev := range events {
		out = words(s.m.Handle(s.now, ev)) + " => " + state(s.m)
	}
	return out
}

// words puts actions into words: "publish, start 1, arm-start 1 30s".
func words(acts []Action) string {
	out := make([]string, 0, len(acts))
	for _, a := range acts {
		out = append(out, word(a))
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

func word(a Action) string {
	switch a := a.(type) {
	case Start:
		if a.From != detect.TierRunning {
			return fmt.Sprintf("start %d from %s", a.ID, a.From)
		}
		return fmt.Sprintf("start %d", a.ID)
	case Stop:
		if a.Kill {
			return fmt.Sprintf("kill %d", a.ID)
		}
		return fmt.Sprintf("stop %d", a.ID)
	case Descend:
		return fmt.Sprintf("descend %d %s", a.ID, a.Tier)
	case Ascend:
		return fmt.Sprintf("ascend %d", a.ID)
	case Prepare:
		return fmt.Sprintf("prepare %d", a.ID)
	case Unprepare:
		return fmt.Sprintf("unprepare %d", a.ID)
	case Watch:
		return fmt.Sprintf("watch %d", a.ID)
	case ArmLife:
		return fmt.Sprintf("arm-life %d %s", a.ID, a.After)
	case ArmDrain:
		return fmt.Sprintf("arm-drain %d %s", a.ID, a.After)
	case ArmSpare:
		return fmt.Sprintf("arm-spare %s", a.After)
	case Publish:
		return "publish"
	case Release:
		return "release"
	case Refuse:
		return "refuse"
	case Recheck:
		return fmt.Sprintf("recheck %d", a.ID)
	case ArmStart:
		return fmt.Sprintf("arm-start %d %s", a.ID, a.After)
	case ArmPortGrace:
		return fmt.Sprintf("arm-port-grace %d %s", a.ID, a.After)
	case ArmConns:
		return fmt.Sprintf("arm-conns %d %s", a.ID, a.After)
	case ArmIdle:
		return fmt.Sprintf("arm-idle %d %s", a.ID, a.After)
	case ArmBackoff:
		return fmt.Sprintf("arm-backoff %s", a.After)
	case Gone:
		return "gone"
	case Note:
		who, mark := "", ""
		if a.Replica != 0 {
			who = fmt.Sprintf(" %d", a.Replica)
		}
		if a.Failure {
			mark = "!"
		}
		return fmt.Sprintf("note%s %s%s %q", mark, a.Kind, who, a.Reason)
	}
	panic(fmt.Sprintf("action of unknown type %T", a))
}

// state puts a machine into words: "waking (1 starting)"; what the data path
// is to know follows where it is not obvious.
func state(m *Machine) string {
	out := string(m.Phase())
	var replicas []string
	for _, r := range m.Replicas() {
		spare := ""
		if r.role == roleSpare {
			spare = "spare "
		}
		replicas = append(replicas, fmt.Sprintf("%d %s%s", r.ID, spare, r.State))
	}
	if len(replicas) > 0 {
		out += " (" + strings.Join(replicas, ", ") + ")"
	}
	v := m.View()
	if v.Refuse {
		out += " refusing"
	}
	for _, r := range v.Replicas {
		if r.Forced {
			out += " forced"
		}
		if r.Asleep {
			out += " asleep"
		}
	}
	return out
}
