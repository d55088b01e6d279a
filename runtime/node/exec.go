package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Exec implements api.Backend.
func (n *Node) Exec(ctx context.Context, name string, req api.ExecRequest) (api.Process, error) {
	e, err := n.byName(name)
	if err != nil {
		return nil, err
	}
	own, err := n.store.Get(name)
	if err != nil {
		return nil, err
	}
	r, err := n.running(ctx, e, req.Replica)
	if err != nil {
		return nil, err
	}
	done := n.session(e, r)
	if err := n.rouse(ctx, e, r); err != nil {
		done()
		return nil, err
	}
	p, err := n.exec(ctx, r, &own.Spec, req)
	if err != nil {
		done()
		return nil, err
	}
	return &execProcess{p: p, done: done}, nil
}

// session keeps the replica awake until the returned function is called.
func (n *Node) session(e *entry, r *replica) (done func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.execs++
	return sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		r.execs--
	})
}

func (n *Node) exec(ctx context.Context, r *replica, s *spec.Site, req api.ExecRequest) (*container.ExecProcess, error) {
	img, err := n.images.Get(r.image)
	if err != nil { // a folder
		if img, err = n.images.Resolve(ctx, s.Image); err != nil {
			return nil, fmt.Errorf("the image of site %s: %w", s.Name, err)
		}
	}
	env := environment(img.Config.Env, s.Env)
	if req.TTY {
		env = append([]string{"TERM=xterm"}, env...) // those that follow win
	}
	p, err := r.ctr.Exec(ctx, container.ExecSpec{
		Args: req.Args, Env: append(env, req.Env...),
		Cwd: firstOf(req.Cwd, s.Workdir, img.Config.WorkingDir, "/"), User: firstOf(req.User, string(s.User), img.Config.User),
		TTY: req.TTY, Cols: req.Cols, Rows: req.Rows,
	})
	switch {
	case errors.Is(err, container.ErrNotRunning):
		return nil, asleep(s.Name)
	case errors.Is(err, container.ErrExec), errors.Is(err, container.ErrUser):
		return nil, &api.Error{Code: api.CodeInvalid, Message: err.Error()}
	}
	return p, err
}

func asleep(name string) error {
	return &api.Error{
		Code: api.CodeUnavailable, Message: fmt.Sprintf("site %q has no running replica", name),
		Hint: "fcnode wake " + name + " starts one",
	}
}

// running finds the replica asked for, or the oldest that runs.
func (n *Node) running(ctx context.Context, e *entry, wanted string) (*replica, error) {
	// One that listens is running for everybody, a little before the daemon knows of its container.
	err := n.wait(ctx, e, func(a *active) bool { return a == nil || a.allKnown() })
	if err != nil && !errors.Is(err, errAsleep) {
		return nil, fmt.Errorf("wait for the replicas of %s: %w", e.name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == nil {
		return nil, asleep(e.name)
	}
	for _, m := range e.active.machine.Replicas() {
		r := e.active.replicas[m.ID]
		if r == nil || r.ctr == nil || m.State == site.Stopping {
			continue
		}
		if wanted == "" || wanted == r.name {
			return r, nil
		}
	}
	if wanted != "" {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("site %q has no running replica %q", e.name, wanted)}
	}
	return nil, asleep(e.name)
}

// allKnown says whether the daemon knows the containers of all replicas that listen.
func (a *active) allKnown() bool {
	for _, m := range a.machine.Replicas() {
		if r := a.replicas[m.ID]; m.State == site.Ready && r != nil && r.ctr == nil {
			return false
		}
	}
	return true
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
