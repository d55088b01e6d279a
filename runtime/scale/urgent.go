package scale

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
// therefore read by threads that the kernel runs before others, and they evaluate the site
// themselves: from the event to the write nobody else has to get a turn.

// urgentReaders take turns: one reads while the other evaluates. An evaluation may have to wait for a
// disk or for a lock of the kernel's.
const urgentReaders = 2

// urgentWorkers are threads of the same kind for what is told in another way (pressure, memory events), or could not be
// done at once.
const urgentWorkers = 2

// spareProcs are more Go processors than the machine has. A goroutine that comes back from the kernel needs one, and
// each of the machine's may be with a thread that waits for its turn.
const spareProcs = 2

// Start starts all that evaluate sites, until the context ends.
func (g *Engine) Start(ctx context.Context, triggers *bpf.TriggerReader) {
	for range workers {
		g.Go(func() { g.queue.work(ctx, g.evaluateGuarded) })
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcs)
	g.Go(func() { g.followTriggers(triggers) })
	for range urgentWorkers {
		g.Go(func() { g.evaluateUrgent(ctx) })
	}
	g.Go(func() {
		<-ctx.Done()
		for range urgentWorkers {
			g.queue.urgentCount.Give()
		}
	})
}

// followTriggers takes what the kernel tells of the sites that are scaled.
func (g *Engine) followTriggers(r *bpf.TriggerReader) {
	turn, err := priority.NewSem(1)
	if err != nil {
		g.Log.Error("triggers are read by one thread only", "error", err)
		g.Threads.Promote()
		g.readTriggers(r, nil)
		return
	}
	var readers sync.WaitGroup
	for range urgentReaders {
		readers.Go(func() {
			g.Threads.Promote()
			g.readTriggers(r, turn)
		})
	}
	readers.Wait()
	if err := turn.Close(); err != nil {
		g.Log.Error("while closing", "error", err)
	}
}

// readTriggers reads and evaluates until the reader is closed.
func (g *Engine) readTriggers(r *bpf.TriggerReader, turn *priority.Sem) {
	for {
		turn.Take()
		ev, err := r.Read()
		turn.Give()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			g.Log.Error("a trigger of the data path cannot be read", "error", err)
			continue
		}
		if ref, ok := g.Site(ev.Site); ok {
			g.Guard(ev.Site, func() { g.urgent(ref, causeOf(ev)) })
		}
	}
}

// urgent evaluates a site at once, unless somebody else is busy with it.
func (g *Engine) urgent(ref Ref, why Cause) {
	begun := bpf.Now()
	why.way.begun = begun
	if !g.Threads.Allowance.Left(begun) || !ref.TryWithScaled(func(l Site) { g.evaluateLocked(l, []Cause{why}, why) }) {
		g.queue.add(ref, why)
		return
	}
	g.Threads.Allowance.Spend(time.Duration(bpf.Now() - begun))
}

// evaluateUrgent evaluates sites of which something was told, until the context ends. What it leaves when its time is used
// up is for the other workers.
func (g *Engine) evaluateUrgent(ctx context.Context) {
	g.Threads.Promote()
	for {
		g.queue.urgentCount.Take()
		if ctx.Err() != nil {
			return
		}
		begun := bpf.Now()
		if !g.Threads.Allowance.Left(begun) {
			continue
		}
		if e, why, ok := g.queue.take(true); ok {
			g.evaluateGuarded(e, why)
			g.Threads.Allowance.Spend(time.Duration(bpf.Now() - begun))
		}
	}
}

// evaluateGuarded evaluates a site whose panic is its own.
func (g *Engine) evaluateGuarded(ref Ref, why []Cause) {
	g.Guard(ref.ID(), func() { g.evaluate(ref, why) })
}
