package event_test

import (
	"testing"

	"github.com/fcnode/fcnode/runtime/event"
)

// TestStory: who reads an event's line misses neither why it happened nor what became of it, and reads nothing twice.
func TestStory(t *testing.T) {
	for _, c := range []struct{ reason, text, want string }{
		{"", "", ""},
		{"first packet", "", "first packet"},
		{"", "folder /srv", "folder /srv"},
		{"exit code 1", "failure 2 in a row", "exit code 1; failure 2 in a row"},
		{"load", "cpu 1 to 2 cores: load", "cpu 1 to 2 cores: load"},
		{"created", "created; no DNS", "created; no DNS"},
	} {
		if got := (event.Event{Reason: c.reason, Text: c.text}).Story(); got != c.want {
			t.Errorf("reason %q and text %q: %q, want %q", c.reason, c.text, got, c.want)
		}
	}
}
