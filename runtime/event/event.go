package event

import (
	"strings"
	"time"
)

// Query chooses events.
type Query struct {
	// Since is the sequence number after which to begin; 0 for all that are kept.
	Since uint64
	// Last limits the events from before the call to the newest n; 0 for all.
	Last int
	// Site limits the events to those of one site.
	Site string
	// Follow goes on with events as they happen.
	Follow bool
}

// Decision is something that the node chose to do, and why: "parked", "idle 5m".
type Decision struct {
	Time   time.Time `json:"time"`
	Action Kind      `json:"action"`
	Reason string    `json:"reason"`
}

// Failure is the last failure of a site.
type Failure struct {
	Time    time.Time `json:"time"`
	Message string    `json:"message"`
	// Retry is when the node tries again by itself; zero when only a packet or a
	// person makes it try.
	Retry time.Time `json:"retry,omitzero"`
}

// Event is one thing that was decided or that happened.
type Event struct {
	// Seq grows by one with each event of a node and survives restarts.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Site and Replica are empty for events about the node.
	Site    string `json:"site,omitempty"`
	Replica string `json:"replica,omitempty"`
	// Kind is one of the constants; docs/events.md describes them.
	Kind Kind `json:"kind"`
	// Reason is why, in a few words: "first packet", "idle 5m", "exit code 1".
	Reason string `json:"reason,omitempty"`
	// Text is what there is to say besides: what became of it, and what to do. Some
	// have the reason in it.
	Text string `json:"text,omitempty"`
	// Fields carry the evidence, for programs.
	Fields map[string]any `json:"fields,omitempty"`
}

// Story is reason and text, for people.
func (e Event) Story() string {
	switch {
	case e.Reason == "" || strings.Contains(e.Text, e.Reason):
		return e.Text
	case e.Text == "":
		return e.Reason
	}
	return e.Reason + "; " + e.Text
}

// Nanoseconds is a time.Duration whose JSON form is its number of nanoseconds. (The
// same as time.Duration has today; encoding/json/v2 would make that an error.)
type Nanoseconds int64

// Duration converts.
func (n Nanoseconds) Duration() time.Duration { return time.Duration(n) }
