package busy

import (
	"fmt"
	"math"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Window is the time between two samples. A connection counts on which bytes have
// moved within it.
const Window = time.Second

// answerWithin is how long a connection counts on which the site has sent something,
// a query to its database, say, to which nothing has come back.
const answerWithin = time.Minute

// Conn is a connection that the site has opened itself. The times are those since it
// last sent data, since data last came, and since anything came.
type Conn struct {
	To                    string
	Sent, Received, Heard time.Duration
	Opening               bool // nobody has answered yet
}

// waits says whether nothing has come back since the site has last sent something.
// The kernel counts in ticks: what was sent within the tick in which data came is the
// question, not what that data has answered, if its receipt was acknowledged later.
func (c Conn) waits() bool {
	return c.Sent < c.Received || c.Sent == c.Received && c.Heard < c.Received
}

// moves says why the connection counts; empty: it does not.
func (c Conn) moves() string {
	switch {
	case c.Opening:
		return "it connects to " + c.To
	case c.Sent < Window, c.Received < Window:
		return "bytes move on its connection to " + c.To
	case c.waits() && c.Sent < answerWithin:
		return fmt.Sprintf("it has waited for an answer of %s for %s", c.To, c.Sent.Round(time.Second))
	}
	return ""
}

// Now is what a replica does at the time of the second sample.
type Now struct {
	Conns []Conn
	File  bool // the one that the spec names is there
}

// Why says what keeps a replica awake, by what it has used up to two moments, and by
// what it does at the second one; empty: nothing.
func Why(b spec.Busy, took time.Duration, before, after cgroup.Usage, now Now) string {
	if b.File != "" && now.File {
		return b.File + " is there"
	}
	took = max(took, time.Millisecond)
	if used := after.CPU.Time - before.CPU.Time; b.CPU > 0 && before.CPU.Known && after.CPU.Known {
		if share := 100 * used.Seconds() / took.Seconds(); share >= float64(b.CPU) {
			return fmt.Sprintf("it uses %.0f%% of a core", math.Ceil(share))
		}
	}
	if b.IO > 0 && before.IO.Known && after.IO.Known {
		rate := float64(moved(after.IO)-moved(before.IO)) / took.Seconds()
		if rate >= float64(b.IO) {
			return fmt.Sprintf("it reads and writes %.1f MiB/s", rate/float64(spec.MiB))
		}
	}
	if !b.Connections {
		return ""
	}
	for _, c := range now.Conns {
		if why := c.moves(); why != "" {
			return why
		}
	}
	return ""
}

func moved(u cgroup.IOUsage) uint64 { return u.ReadBytes + u.WriteBytes }
