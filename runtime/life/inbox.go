package life

import "sync"

// inbox has what the kernel has told of sites whose locks somebody holds, who may
// wait for a disk. Who reads the kernel's rings waits for none of them: other
// sites' visitors wait behind him.
type inbox struct {
	mu      sync.Mutex
	waiting map[*Site][]func(*Live) // also nil: somebody is about to look for more
}

// post has f called with the site's lock, after all that was posted for it before:
// at once if nobody has the lock, else by a goroutine that waits for it.
func (in *inbox) post(st *Site, f func(*Live)) {
	if !in.put(st, f) {
		return
	}
	if !st.tryWith(in.empty) {
		st.goDo(func() { st.With(in.empty) })
	}
}

// put says whether nobody is on his way to it yet.
func (in *inbox) put(st *Site, f func(*Live)) (first bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.waiting == nil {
		in.waiting = map[*Site][]func(*Live){}
	}
	queue, busy := in.waiting[st]
	in.waiting[st] = append(queue, f)
	return !busy
}

// take takes what is there for a site; nothing, and nobody is on his way any more.
func (in *inbox) take(st *Site) []func(*Live) {
	in.mu.Lock()
	defer in.mu.Unlock()
	queue := in.waiting[st]
	if len(queue) == 0 {
		delete(in.waiting, st)
	} else {
		in.waiting[st] = nil
	}
	return queue
}

// empty calls all that is there. What is left after a panic was of the site before
// its quarantine.
func (in *inbox) empty(l *Live) {
	st, ended := l.Site, false
	defer func() {
		if !ended {
			in.mu.Lock()
			defer in.mu.Unlock()
			delete(in.waiting, st)
		}
	}()
	for queue := in.take(st); len(queue) > 0; queue = in.take(st) {
		for _, f := range queue {
			f(l)
		}
	}
	ended = true // and others may be on their way again
}
