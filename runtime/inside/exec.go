package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Exec implements api.Backend.
func (b Replicas) Exec(ctx context.Context, name string, req api.ExecRequest) (api.Process, error) {
	e, err := b.byName(name)
	if err != nil {
		return nil, err
	}
	own, err := b.host.Store.Get(name)
	if err != nil {
		return nil, err
	}
	r, err := running(ctx, e, req.Replica)
	if err != nil {
		return nil, err
	}
	// Told before it can do anything: what it does may be to end this daemon.
	b.host.Tell(event.Event{
		Site: name, Replica: r.Name, Kind: event.Executed, Reason: commandLine(req.Args),
		Fields: map[string]any{"command": req.Args, "uid": api.PeerUID(ctx)},
	})
	done := e.Session(r)
	if err := e.Rouse(ctx, r); err != nil {
		done()
		return nil, err
	}
	p, err := b.exec(ctx, r, &own.Spec, req)
	if err != nil {
		done()
		return nil, err
	}
	return &execProcess{p: p, done: done}, nil
}

// running finds a replica, the oldest where none is asked for.
func running(ctx context.Context, e *life.Site, wanted string) (*life.Replica, error) {
	r, err := e.Running(ctx, wanted)
	if errors.Is(err, life.ErrNoReplica) && wanted != "" {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("site %q has no running replica %q", e.Name, wanted)}
	}
	return r, Wired(e.Name, err)
}

// mostShown bounds what is shown of a command line; the event has all of it.
const mostShown = 200

func commandLine(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.ContainsFunc(a, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(" \"'\\", r) }) {
			quoted[i] = strconv.Quote(a)
		}
	}
	line := strings.Join(quoted, " ")
	if len(line) > mostShown {
		line = strings.ToValidUTF8(line[:mostShown], "") + "…"
	}
	return line
}

func (b Replicas) exec(ctx context.Context, r *life.Replica, s *spec.Site, req api.ExecRequest) (*container.ExecProcess, error) {
	with, err := b.host.ExecSpec(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if req.TTY {
		with.Env = append([]string{"TERM=xterm"}, with.Env...) // those that follow win
	}
	with.Args, with.Env = req.Args, append(with.Env, req.Env...)
	with.Cwd, with.User = life.FirstOf(req.Cwd, with.Cwd), life.FirstOf(req.User, with.User)
	with.TTY, with.Cols, with.Rows = req.TTY, req.Cols, req.Rows
	p, err := r.Ctr.Exec(ctx, with)
	return p, Wired(s.Name, err)
}

// Wired gives an error of a site the form that the API has for it.
func Wired(name string, err error) error {
	switch {
	case errors.Is(err, life.ErrQuarantined):
		return &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q is quarantined: fcnode panicked when it handled it", name),
			Hint: "fcnode apply of its spec ends that, also of an unchanged one; fcnode events --site " + name + " says more",
		}
	case errors.Is(err, life.ErrGone):
		return sites.NotFound(name)
	case errors.Is(err, life.ErrStopping):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	case errors.Is(err, life.ErrNoReplica), errors.Is(err, container.ErrNotRunning):
		return &api.Error{
			Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q has no running replica", name),
			Hint: "fcnode wake " + name + " starts one",
		}
	case errors.Is(err, container.ErrExec), errors.Is(err, container.ErrUser):
		return &api.Error{Code: api.CodeInvalid, Message: err.Error()}
	}
	return err
}

// execProcess is api.Process.
type execProcess struct {
	p    *container.ExecProcess
	done func()
}

func (x *execProcess) PID() int { return x.p.Pid() }

func (x *execProcess) Files() []*os.File { return x.p.Files() }

func (x *execProcess) Signal(sig syscall.Signal) error { return x.p.Signal(sig) }

func (x *execProcess) Wait(ctx context.Context) (api.ExecResult, error) {
	defer x.done()
	code, err := x.p.Wait(ctx)
	res := api.ExecResult{Code: code}
	if code > 128 && code <= 128+64 {
		res.Signal = unix.SignalName(unix.Signal(code - 128))
	}
	return res, errors.Join(err, x.p.Close())
}
