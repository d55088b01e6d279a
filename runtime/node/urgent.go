package node

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/priority"
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
			n.looks.told.Give()
		}
	})
}

// followTriggers takes what the kernel tells of the sites that are scaled.
func (n *Node) followTriggers(r *bpf.TriggerReader) {
	turn, err := priority.NewSem(1)
	if err != nil {
		n.log.Error("triggers are read by one thread only", "error", err)
		n.threads.Promote()
		n.readTriggers(r, nil)
		return
	}
	var readers sync.WaitGroup
	for range urgentReaders {
		readers.Go(func() {
			n.threads.Promote()
			n.readTriggers(r, turn)
		})
	}
	readers.Wait()
	if err := turn.Close(); err != nil {
		n.log.Error("while closing", "error", err)
	}
}

// readTriggers reads and looks until the reader is closed.
func (n *Node) readTriggers(r *bpf.TriggerReader, turn *priority.Sem) {
	for {
		turn.Take()
		ev, err := r.Read()
		turn.Give()
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
	if !n.threads.Allowance.Left(begun) || !e.mu.TryLock() {
		n.looks.add(e, why)
		return
	}
	why.way.begun = begun
	n.lookAt(e, []cause{why}, why)
	e.mu.Unlock()
	n.threads.Allowance.Spend(time.Duration(bpf.Now() - begun))
}

// lookFirst looks at sites of which something was told, until the context ends. What it leaves when its time is used
// up is for the other workers.
func (n *Node) lookFirst(ctx context.Context) {
	n.threads.Promote()
	for {
		n.looks.told.Take()
		if ctx.Err() != nil {
			return
		}
		begun := bpf.Now()
		if !n.threads.Allowance.Left(begun) {
			continue
		}
		if e, why, ok := n.looks.take(true); ok {
			n.look(e, why)
			n.threads.Allowance.Spend(time.Duration(bpf.Now() - begun))
		}
	}
}
