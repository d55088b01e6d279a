package watchdog

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Pulse knows for how long a loop has been at one thing. A loop that waits for
// something to come is well.
type Pulse struct {
	since atomic.Pointer[time.Time] // nil: it waits
}

// During does one thing of the loop.
func (p *Pulse) During(do func()) {
	now := time.Now()
	p.since.Store(&now)
	defer p.since.Store(nil)
	do()
}

func (p *Pulse) busy() time.Duration {
	if since := p.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// Watch watches over what visitors depend on.
type Watch struct {
	Held    Pulse  // of the loop of held packets
	Sockets Pulse  // of that of sockets' events
	Ask     func() // asks the table of sites something, which takes its lock

	table Pulse
}

// Stalled names what has hung for longer than the limit; empty: nothing. It does not
// hang itself.
func (w *Watch) Stalled(limit time.Duration) string {
	var hang []string
	for _, loop := range []struct {
		name string
		*Pulse
	}{{"the loop of held packets", &w.Held}, {"the loop of sockets' events", &w.Sockets}, {"the table of sites", &w.table}} {
		if busy := loop.busy(); busy > limit {
			hang = append(hang, fmt.Sprintf("%s (for %s)", loop.name, busy.Round(time.Second)))
		}
	}
	// Asked beside, as who asks would hang with it; one question at a time.
	if w.table.since.Load() == nil {
		go w.table.During(w.Ask)
	}
	return strings.Join(hang, ", ")
}

// beats is how many beats there are in the time for which the daemon may be silent.
const beats = 10

// Beat tells the kernel at intervals that the daemon is well, until ctx ends; not while
// something is stalled. fail is told of the first of errors in a row, and of a stall.
func (w *Watch) Beat(ctx context.Context, silence time.Duration, beat func() error, fail func(error)) {
	tick := time.NewTicker(silence / beats)
	defer tick.Stop()
	failed := false
	for {
		var err error
		if what := w.Stalled(silence / 2); what != "" {
			err = fmt.Errorf("new visitors of sleeping sites are refused unless it goes on: %s hangs", what)
		} else {
			err = beat()
		}
		if err != nil && !failed {
			fail(err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
