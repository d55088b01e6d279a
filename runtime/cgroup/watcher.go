package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Watcher tells of pressure and memory events of any number of groups, by one
// goroutine. It has a thread of its own, as a trigger of pressure is used up by
// whoever polls it: the Go runtime, which would poll a descriptor of ours,
// would leave nothing.
type Watcher struct {
	epoll int
	stop  int // an eventfd
	done  chan struct{}

	mu      sync.Mutex
	last    uint64 // number of the newest watch; 0 is stop's
	watches map[uint64]*Watch
	closed  bool
}

// Watch is one thing that is watched.
type Watch struct {
	w      *Watcher
	id     uint64
	file   *os.File
	notify func(events uint32) (gone bool)
}

// NewWatcher starts the goroutine. Close ends it. What begin does, if there is
// any, the goroutine does first: it may have wishes for its thread.
func NewWatcher(begin func()) (*Watcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll descriptor: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a descriptor that ends the watch: %w", err), unix.Close(epoll))
	}
	w := &Watcher{epoll: epoll, stop: stop, done: make(chan struct{}), watches: map[uint64]*Watch{}}
	go func() {
		if begin != nil {
			begin()
		}
		w.loop()
	}()
	return w, nil
}

func (w *Watcher) loop() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // cannot be: the descriptor is open until this has ended
		}
		for _, e := range events[:max(n, 0)] {
			id := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if id == 0 {
				return
			}
			w.tell(id, e.Events)
		}
	}
}

// Close ends all watches. It waits for a notification that is under way.
func (w *Watcher) Close() error {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	w.mu.Unlock()
	if again {
		return nil
	}
	_, err := unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.watches {
		err = errors.Join(err, one.file.Close())
	}
	clear(w.watches)
	return errors.Join(err, unix.Close(w.stop), unix.Close(w.epoll))
}

// Pressure calls notify when the trigger fires, which it takes over. It is
// called by the watcher's only goroutine, so it has to be quick.
func (w *Watcher) Pressure(p *Pressure, notify func()) (*Watch, error) {
	return w.add(&Watch{file: p.file, notify: func(events uint32) bool {
		if events&unix.EPOLLERR != 0 {
			return true // the group is removed
		}
		notify()
		return false
	}})
}

// MemoryEvents calls notify with the counts when any of them has changed, as
// Pressure does. ErrNoController: memory is not accounted here.
func (w *Watcher) MemoryEvents(g *Group, notify func(MemoryEvents)) (*Watch, error) {
	if err := g.parent.need("memory"); err != nil {
		return nil, err
	}
	// By number, as the Go runtime would poll what os.Open opens.
	fd, err := unix.Open(filepath.Join(g.Path(), "memory.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch the memory events of %s: %w", g.Path(), err)
	}
	f := os.NewFile(uintptr(fd), "memory.events")
	buf := make([]byte, 512)
	read := func() (MemoryEvents, bool) { // reading also tells the kernel that the change is seen
		n, _ := f.ReadAt(buf, 0) // io.EOF, or the group is gone
		return parseMemoryEvents(string(buf[:n])), n > 0
	}
	last, _ := read()
	return w.add(&Watch{file: f, notify: func(uint32) bool { // has EPOLLERR at every change
		now, there := read()
		if there && now != last {
			last = now
			notify(now)
		}
		return !there
	}})
}

func (w *Watcher) add(one *Watch) (*Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", one.file.Name(), os.ErrClosed), one.file.Close())
	}
	w.last++
	one.w, one.id = w, w.last
	// Fd and Pad are one number of 64 bits to the kernel: the watch, as
	// descriptors are used again.
	event := unix.EpollEvent{Events: unix.EPOLLPRI, Fd: int32(one.id), Pad: int32(one.id >> 32)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, int(one.file.Fd()), &event); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", one.file.Name(), err), one.file.Close())
	}
	w.watches[one.id] = one
	return one, nil
}

// tell calls who waits for an event.
func (w *Watcher) tell(id uint64, events uint32) {
	w.mu.Lock()
	one := w.watches[id]
	w.mu.Unlock()
	if one == nil {
		return // closed in between
	}
	if !one.notify(events) {
		return
	}
	// It would be told for ever; Close is still the owner's.
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[id] == one {
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(one.file.Fd()), nil) // it is in there
	}
}

// Close ends the watch; a notification may be under way. Of a group that is
// removed, nothing more is told, but the watch remains until it is closed.
func (one *Watch) Close() error {
	w := one.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[one.id] != one {
		return nil
	}
	delete(w.watches, one.id)
	return one.file.Close() // which takes it out of the poll too
}
