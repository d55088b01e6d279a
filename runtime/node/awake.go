package node

import "sync"

// awake are the sites that have more than an entry: something of theirs runs, sleeps with its processes, stands ready or
// waits to be tried again. On a node with a hundred thousand parked sites these are few, and
// what is done for each of them from time to time takes no lock of the others.
type awake struct {
	mu  sync.Mutex
	set map[*entry]struct{}
}

// all gives them in no order. One that goes to sleep a moment later is still among them.
func (a *awake) all() []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*entry, 0, len(a.set))
	for e := range a.set {
		out = append(out, e)
	}
	return out
}

// become gives an entry what it has while its site is not parked, or takes it away (nil). Nothing else sets it. The caller
// holds e.mu.
func (a *awake) become(e *entry, now *active) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.active = now
	if now == nil {
		delete(a.set, e)
		return
	}
	if a.set == nil {
		a.set = map[*entry]struct{}{}
	}
	a.set[e] = struct{}{}
}
