package life

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/logs"
	"github.com/fcnode/fcnode/runtime/schedule"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Scheduled is what the schedule needs of the site; false: it has none.
func (st *Site) Scheduled() (s schedule.Site, has bool) {
	st.With(func(*Live) { s = schedule.Site{Name: st.Name, Tasks: st.schedule, Run: st.runTask} })
	return s, len(s.Tasks) > 0
}

// runTask wakes the site for a command, runs it, and lets the site sleep again. It
// is no visit: nothing of it is seen by who asks since when the site is idle.
func (st *Site) runTask(ctx context.Context, t spec.Task) (out schedule.Outcome, err error) {
	r, s, err := st.errand(ctx, "schedule: "+t.At)
	if err != nil {
		return out, err
	}
	defer st.With(func(l *Live) { errandOver(l, r) })
	out.Replica = r.Name
	with, err := st.Host.ExecSpec(ctx, r, s)
	if err != nil {
		return out, err
	}
	with.Args = t.Exec
	p, err := r.Ctr.Exec(ctx, with)
	if err != nil {
		return out, err
	}
	said := st.Host.copyOutput(ctx, st.Name, r.Name, p.Files())
	out.Code, err = p.Wait(ctx)
	err = errors.Join(err, p.Close())
	said()
	return out, err
}

// errand finds a replica that serves, and starts or rouses one if need be: not many
// sites at a time, and after those that visitors wait for. It is kept awake.
func (st *Site) errand(ctx context.Context, why string) (found *Replica, s *spec.Site, err error) {
	leave, err := st.Host.Errands.Enter(ctx, netip.Prefix{})
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	st.Host.Wakes.Yield(ctx.Done())
	return errandNow(ctx, st, why)
}

// errandNow is errand that waits for nobody.
func errandNow(ctx context.Context, st *Site, why string) (found *Replica, s *spec.Site, err error) {
	begun := time.Now()
	st.With(func(l *Live) {
		if l.Activity != nil && l.Machine.Phase() == site.Backoff {
			err = fmt.Errorf("the site does not start: %s", lastFailure(l.History))
		}
	})
	if err == nil {
		err = st.Wake(why)
	}
	if err != nil {
		return nil, nil, err
	}
	is := func(a *Activity) bool {
		if a == nil || a.Machine.Phase() == site.Backoff {
			return true
		}
		for _, m := range a.Machine.Replicas() {
			if r := a.Replicas[m.ID]; m.State == site.Ready && !m.Spare() && r != nil && r.Ctr != nil {
				found, s = r, a.Spec
				r.execs++
				r.unasked = r.unasked || !r.Started.Before(begun)
				return true
			}
		}
		return false
	}
	err = st.Wait(ctx, is)
	if err == nil && found == nil {
		st.With(func(l *Live) { err = fmt.Errorf("the site does not start: %s", lastFailure(l.History)) })
	}
	return found, s, err
}

func lastFailure(h *history) string {
	if h != nil && h.Failure != nil {
		return h.Failure.Message
	}
	return "it was parked at once"
}

// errandOver has the site look at once whether anybody else needs it.
func errandOver(l *Live, r *Replica) {
	r.execs--
	if l.Activity == nil || l.Replicas[r.ID] != r || l.Host.Stopped() {
		return
	}
	if m, ok := l.Machine.Replica(r.ID); ok && m.State == site.Ready {
		l.armIdle(r.ID, 0)
	}
}

// What a command may print: so fast, as whoever reads it is the daemon, and so much.
const (
	saidPiece = logs.MaxLine
	saidEvery = 100 * time.Millisecond // for a piece
	saidMost  = 256 << 10
	saidAfter = time.Second // to read what is left when the command has ended
)

// copyOutput writes what a command prints into the site's log. The function that it
// returns waits for the rest, when the command has ended; something else in the
// replica may hold the pipes open, and is not waited for.
func (h *Host) copyOutput(ctx context.Context, siteName, replica string, files []*os.File) (end func()) {
	w, err := logs.OpenWriter(h.LogDir(siteName), logs.Options{Replica: replica, MaxSize: int64(h.Cfg.Log.MaxSize), Files: h.Cfg.Log.Files})
	if err != nil {
		h.Log.Error("the output of a command on schedule is lost", "site", siteName, "error", err)
	}
	var copies sync.WaitGroup
	var pipes []*os.File
	for i, f := range files {
		if i == 0 || w == nil { // its input; or nobody hears it
			_ = f.Close()
			continue
		}
		pipe, err := pollable(f)
		if err != nil {
			h.Log.Error("the output of a command on schedule is lost", "site", siteName, "error", err)
			continue
		}
		pipes = append(pipes, pipe)
		stream := []string{1: logs.Stdout, 2: logs.Stderr}[i]
		copies.Go(func() { _ = w.Copy(stream, &slowly{from: pipe, ctx: ctx}) }) // it ends when the pipe does
	}
	return func() {
		done := make(chan struct{})
		go func() { copies.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(saidAfter):
		}
		for _, p := range pipes {
			_ = p.Close()
		}
		<-done
		if w != nil {
			_ = w.Close() // nothing is buffered
		}
	}
}

// pollable gives a file whose Close ends a Read that waits, in the place of one.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("duplicate a pipe: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// slowly reads in pieces, not too many of them in a second. What is too much it
// reads and drops.
type slowly struct {
	from *os.File
	ctx  context.Context //nolint:containedctx // of the one run that is read
	read int
}

// Read implements io.Reader.
func (s *slowly) Read(b []byte) (int, error) {
	for {
		n, err := s.from.Read(b)
		before := s.read
		s.read += n
		if before/saidPiece != s.read/saidPiece {
			select {
			case <-time.After(saidEvery):
			case <-s.ctx.Done():
			}
		}
		switch {
		case err != nil, s.read <= saidMost:
			return n, err
		case before <= saidMost:
			return copy(b, "\nfcnode: the rest of the output is left out\n"), nil
		}
	}
}
