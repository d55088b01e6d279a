package life

import (
	"fmt"

	"github.com/fcnode/fcnode/runtime/site"
)

// checkup is what `health` has found of a replica, from when it began to serve.
type checkup struct {
	of     *Replica
	failed int // tries in a row
}

// mostPatience is how often the patience with replicas is doubled that are unhealthy
// one after the other: what is wrong then is hardly theirs, and a circulation each
// time would only take the processor.
const mostPatience = 5

// followHealth has those replicas asked that serve, and no others: a question to one
// that sleeps would find nobody.
func (l *Live) followHealth() {
	asks := l.Spec.Health.Asks()
	for id, r := range l.Replicas {
		m, ok := l.Machine.Replica(id)
		switch serves := ok && m.State == site.Ready && !m.Spare() && !r.stopping; {
		case !asks || !serves:
			r.checkup = nil
		case r.checkup == nil:
			r.checkup = &checkup{of: r}
			r.checkup.arm(l)
		}
	}
}

// arm sets the time of the next try.
func (c *checkup) arm(l *Live) {
	r := c.of
	l.arm(timerKey{timerHealth, r.ID}, l.Spec.Health.Interval(), func() site.Event {
		if r.checkup != c {
			return nil
		}
		if r.Ctr == nil || r.work != nil || l.pause != nil { // the daemon does not know of it yet, looks at what it does unasked, or has stopped it
			c.arm(l)
			return nil
		}
		st, s, paused := l.Site, l.Spec, r.paused
		st.goDo(func() {
			err := st.ask(st.Host.Ctx, s.Health.Probe, r, s)
			st.With(func(l *Live) {
				if r.paused == paused { // else it may have had no time to answer
					c.tried(l, err)
				} else if l.Activity != nil && r.checkup == c {
					c.arm(l)
				}
			})
		})
		return nil
	})
}

// tried takes the outcome of a try.
func (c *checkup) tried(l *Live, err error) {
	r := c.of
	if l.Activity == nil || l.Replicas[r.ID] != r || r.checkup != c || l.Host.Stopped() {
		return // it went to sleep meanwhile, say
	}
	c.arm(l)
	if err == nil {
		c.failed, l.unhealthy = 0, 0
		return
	}
	c.failed++
	most := l.Spec.Health.Limit() << min(l.unhealthy, mostPatience)
	if c.failed < most {
		return
	}
	c.failed = 0
	l.unhealthy++
	l.handle(site.Unhealthy{ID: r.ID, Reason: fmt.Sprintf("its health probe has failed %d times in a row: %v", most, err)})
}
