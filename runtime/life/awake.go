package life

import "sync"

// awake are the sites that have more than an entry: something of theirs runs, sleeps with its processes, stands ready or
// waits to be tried again. On a node with a hundred thousand parked sites these are few, and
// what is done for each of them from time to time takes no lock of the others.
type awake struct {
	mu  sync.Mutex
	set map[*Site]struct{}
}

// All gives them in no order. One that goes to sleep a moment later is still among them.
func (a *awake) All() []*Site {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*Site, 0, len(a.set))
	for e := range a.set {
		out = append(out, e)
	}
	return out
}

// become gives a site what it has while it is live, or takes it away (nil).
// Nothing else sets it.
func (l *Live) become(now *Activity) {
	a := &l.Host.Awake
	a.mu.Lock()
	defer a.mu.Unlock()
	l.Activity = now
	if now == nil {
		delete(a.set, l.Site)
		return
	}
	if a.set == nil {
		a.set = map[*Site]struct{}{}
	}
	a.set[l.Site] = struct{}{}
}
