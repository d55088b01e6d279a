package site

import (
	"testing"
	"time"
)

// TestRestoredReplicaThatDoesNotServe: what is restored and comes to nothing is replaced at once, for the same
// visitors, and the site counts no failure for it.
func TestRestoredReplicaThatDoesNotServe(t *testing.T) {
	started := func(p Policy) *story {
		s := newStory(p)
		s.on(PacketHeld{}, Restored{ID: 1})
		return s
	}
	late := Unresponsive{ID: 1, Reason: "it gives no answer"}
	for name, tt := range map[string]struct {
		s      *story
		events []Event
		want   string
	}{
		"nobody listens": {started(policy), []Event{late},
			`publish, kill 1, note! exited 1 "it gives no answer" => parking (1 stopping)`},
		"and it has gone": {started(policy), []Event{late, ReplicaExited{ID: 1, Reason: "ended by SIGKILL"}},
			`publish, start 2, arm-start 2 30s, note waking 2 "first packet" => waking (2 starting)`},
		"nobody answers": {started(policy), []Event{ReplicaReady{ID: 1, All: true}, late},
			`publish, kill 1, note! exited 1 "it gives no answer" => parking (1 stopping)`},
		"and that has gone": {started(policy), []Event{ReplicaReady{ID: 1, All: true}, late, ReplicaExited{ID: 1, Reason: "ended by SIGKILL"}},
			`publish, start 2, arm-start 2 30s, note waking 2 "it gives no answer" => waking (2 starting)`},
		"it has answered": {started(policy), []Event{ReplicaReady{ID: 1, All: true}, Answered{ID: 1}, late},
			"nothing => running (1 ready)"},
		"it ends": {started(policy), []Event{ReplicaExited{ID: 1, Reason: "ended by SIGKILL"}},
			`publish, note! exited 1 "restored, and ended before its first answer: ended by SIGKILL", start 2, arm-start 2 30s, ` +
				`note waking 2 "restored, and ended before its first answer: ended by SIGKILL" => waking (2 starting)`},
		"it ends after it has answered": {started(policy), []Event{ReplicaReady{ID: 1, All: true}, Answered{ID: 1}, ReplicaExited{ID: 1, Reason: "exit code 1"}},
			`publish, refuse, arm-backoff 1s, note! failed 1 "ended 0s after it was ready: exit code 1" => backoff refusing`},
		"the cold one fails, too": {started(policy), []Event{late, ReplicaExited{ID: 1}, StartFailed{ID: 2, Reason: "no image"}},
			`publish, refuse, arm-backoff 1s, note! failed 2 "no image" => backoff refusing`},
		"somebody parks it by hand meanwhile": {started(policy), []Event{late, ParkAsked{Reason: "asked", Force: true}, ReplicaExited{ID: 1}},
			`publish, note parked "it gives no answer" => parked`},
	} {
		if got := tt.s.on(tt.events...); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

// TestRestoredReplicaEndsMuchLater: without a visitor it is the end of any other.
func TestRestoredReplicaEndsMuchLater(t *testing.T) {
	s := newStory(policy)
	s.on(WakeAsked{Reason: "asked"}, Restored{ID: 1}, ReplicaReady{ID: 1, All: true})
	if got, want := s.after(time.Hour).on(ReplicaExited{ID: 1, Reason: "exit code 1"}), `publish, note! exited 1 "exit code 1" => parked`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
