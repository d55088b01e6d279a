package node

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Ready is called when the node serves, with a few words about it. stalled names what has hung for longer
// than the limit; empty: nothing. It does not hang itself.
type Ready func(status string, stalled func(limit time.Duration) string)

// pulse knows for how long a loop has been at one thing. A loop that waits for something to come is well.
type pulse struct {
	since atomic.Pointer[time.Time] // nil: it waits
}

func (p *pulse) during(do func()) {
	now := time.Now()
	p.since.Store(&now)
	defer p.since.Store(nil)
	do()
}

func (p *pulse) busy() time.Duration {
	if since := p.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// stalled implements the second half of Ready. Behind each of these every visitor of every sleeping site waits.
func (n *Node) stalled(limit time.Duration) string {
	var hang []string
	for _, loop := range []struct {
		name string
		*pulse
	}{{"the loop of held packets", &n.held}, {"the loop of sockets' events", &n.sockets}, {"the table of sites", &n.tableLock}} {
		if busy := loop.busy(); busy > limit {
			hang = append(hang, fmt.Sprintf("%s (for %s)", loop.name, busy.Round(time.Second)))
		}
	}
	// Asked beside, as who asks would hang with it; one question at a time.
	if n.tableLock.since.Load() == nil {
		go n.tableLock.during(func() { n.table.Count() })
	}
	return strings.Join(hang, ", ")
}
