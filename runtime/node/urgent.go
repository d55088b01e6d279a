package node

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
)

// A site that has too little has it most often when the whole machine has: then a thread of
// the daemon waits for its turn as long as all others, some milliseconds each time, and so
// does each goroutine that is handed something by another. What the kernel tells is
// therefore read by threads that the kernel runs before others, and they look at the site
// themselves: from the event to the write nobody else has to get a turn.

// urgentReaders take turns: one reads while the other looks. A look may have to wait for a
// disk or for a lock of the kernel's.
const urgentReaders = 2

// urgentWorkers are threads of the same kind for what is told in another way (pressure, memory events), or could not be
// done at once.
const urgentWorkers = 2

// spareProcs are more Go processors than the machine has. A goroutine that comes back from the kernel needs one, and
// each of the machine's may be with a thread that waits for its turn.
const spareProcs = 2

// What these threads may take of the machine before others: over a longer time this share of one processor, at once so
// much. The rest is for the workers, as busy as the machine is: whoever makes the kernel tell very often must not be
// able to stop everything else.
const (
	urgentShare = 0.2
	urgentBurst = 20 * time.Millisecond
)

// allowance is time that may be spent; it comes back with time.
type allowance struct {
	mu   sync.Mutex
	left time.Duration
	at   uint64 // CLOCK_MONOTONIC
}

// some says whether there is anything left now.
func (a *allowance) some(now uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == 0 {
		a.left = urgentBurst
	}
	if now > a.at {
		a.left = min(urgentBurst, a.left+time.Duration(float64(now-a.at)*urgentShare))
		a.at = now
	}
	return a.left > 0
}

func (a *allowance) spend(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left -= d
}

// startUrgent starts all who go first.
func (n *Node) startUrgent(ctx context.Context, triggers *bpf.TriggerReader) {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcs)
	n.work.Go(func() { n.followTriggers(triggers) })
	for range urgentWorkers {
		n.work.Go(func() { n.lookFirst(ctx) })
	}
	n.work.Go(func() {
		<-ctx.Done()
		for range urgentWorkers {
			n.looks.told.give()
		}
	})
}

// followTriggers takes what the kernel tells of the sites that are scaled.
func (n *Node) followTriggers(r *bpf.TriggerReader) {
	turn, err := newTurns(1)
	if err != nil {
		n.log.Error("triggers are read by one thread only", "error", err)
		n.goFirst()
		n.readTriggers(r, nil)
		return
	}
	var readers sync.WaitGroup
	for range urgentReaders {
		readers.Go(func() {
			n.goFirst()
			n.readTriggers(r, turn)
		})
	}
	readers.Wait()
	if err := turn.close(); err != nil {
		n.log.Error("while closing", "error", err)
	}
}

// readTriggers reads and looks until the reader is closed.
func (n *Node) readTriggers(r *bpf.TriggerReader, turn *turns) {
	for {
		turn.take()
		ev, err := r.Read()
		turn.give()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			n.log.Error("a trigger of the data path cannot be read", "error", err)
			continue
		}
		if e := n.byID(ev.Site); e != nil {
			n.urgent(e, causeOf(ev))
		}
	}
}

// urgent looks at a site at once, unless somebody else is busy with it.
func (n *Node) urgent(e *entry, why cause) {
	begun := bpf.Now()
	if !n.allowance.some(begun) || !e.mu.TryLock() {
		n.looks.add(e, why)
		return
	}
	why.way.begun = begun
	n.lookAt(e, []cause{why}, why)
	e.mu.Unlock()
	n.allowance.spend(time.Duration(bpf.Now() - begun))
}

// lookFirst looks at sites of which something was told, until the context ends. What it leaves when its time is used
// up is for the other workers.
func (n *Node) lookFirst(ctx context.Context) {
	n.goFirst()
	for {
		n.looks.told.take()
		if ctx.Err() != nil {
			return
		}
		begun := bpf.Now()
		if !n.allowance.some(begun) {
			continue
		}
		if e, why, ok := n.looks.take(true); ok {
			n.look(e, why)
			n.allowance.spend(time.Duration(bpf.Now() - begun))
		}
	}
}

// turns are what threads wait for: the kernel itself wakes the one that gets the next, which channels and locks leave to
// whichever of Go's threads has a turn of its own.
type turns struct{ fd int }

func newTurns(count uint) (*turns, error) {
	fd, err := unix.Eventfd(count, unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &turns{fd: fd}, nil
}

// take waits for one.
func (t *turns) take() {
	if t == nil {
		return
	}
	var one [8]byte
	for {
		// nothing but a signal can come instead
		if _, err := unix.Read(t.fd, one[:]); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// give adds one.
func (t *turns) give() {
	if t == nil {
		return
	}
	_, _ = unix.Write(t.fd, binary.NativeEndian.AppendUint64(nil, 1)) // it would take 2^64 of them to fill it
}

func (t *turns) close() error { return unix.Close(t.fd) }
