//go:build linux

package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// start is one start of a container.
type start struct {
	req    wire.StartRequest
	prep   *prepared
	netns  *os.File
	stdout *os.File
	stderr *os.File
	shim   *json.Encoder

	steps []wire.Step
	init  wire.Process
}

func (s *start) step(name string) {
	s.steps = append(s.steps, wire.Step{Name: name, At: wire.Now()})
}

func (s *start) run() error {
	if err := s.shim.Encode(s.req.Monitor); err != nil {
		return fmt.Errorf("telling the monitor of container %s: %w", s.req.ID, err)
	}
	if err := mountRootfs(s.req); err != nil {
		return err
	}
	s.step("mounted")
	root, err := os.OpenFile(s.req.Rootfs, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fail(wire.KindRootfs, "opening the root file system: %w", err)
	}
	defer root.Close() //nolint:errcheck // a path descriptor
	user, err := lookUser(root, s.req.User)
	if err != nil {
		return err
	}
	if err := s.checkEntry(root); err != nil {
		return err
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	s.step("checked")
	return s.create(root, user)
}

// create makes the container and lets its program run.
func (s *start) create(root *os.File, user *user) error {
	config := s.config(user)
	c, err := libcontainer.Create(filepath.Join(s.req.Dir, wire.LibDir), s.req.ID, config)
	if err != nil {
		return fmt.Errorf("making container %s: %w", s.req.ID, err)
	}
	s.step("configured")
	p := &libcontainer.Process{
		Args: s.req.Args, Env: s.req.Env, Cwd: s.req.Cwd,
		UID: user.uid, GID: user.gid, AdditionalGroups: user.groups,
		Stdout: s.stdout, Stderr: s.stderr, Init: true,
	}
	if err := c.Start(p); err != nil {
		return s.classify(root, err)
	}
	s.step("created")
	if err := s.record(c); err != nil {
		return err
	}
	if err := c.Exec(); err != nil {
		return fmt.Errorf("letting the program of container %s run: %w", s.req.ID, err)
	}
	s.step("executed")
	if err := s.shim.Encode(wire.Executed{}); err != nil {
		return fmt.Errorf("telling the monitor of container %s: %w", s.req.ID, err)
	}
	return nil
}

// record writes down that the container exists, before its program can run.
func (s *start) record(c *libcontainer.Container) error {
	state, err := c.State()
	if err != nil {
		return fmt.Errorf("reading the state of container %s: %w", s.req.ID, err)
	}
	s.init = wire.Process{Pid: state.InitProcessPid, Start: state.InitProcessStartTime}
	if err := wire.WriteFile(s.req.Dir, wire.InitFile, s.init); err != nil {
		return err
	}
	if err := s.shim.Encode(wire.Started{Pid: s.init.Pid}); err != nil {
		return fmt.Errorf("telling the monitor of container %s: %w", s.req.ID, err)
	}
	s.step("recorded")
	return nil
}

// fail makes an error of a kind that the daemon tells its callers.
func fail(kind wire.Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		kind = wire.KindNoSpace
	}
	return &kindError{kind: kind, err: err}
}

type kindError struct {
	kind wire.Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// asError makes an error fit to cross the process boundary.
func asError(err error) *wire.Error {
	out := &wire.Error{Kind: wire.KindInternal, Message: err.Error()}
	var k *kindError
	switch {
	case errors.As(err, &k):
		out.Kind = k.kind
	case errors.Is(err, unix.ENOSPC):
		out.Kind = wire.KindNoSpace
	}
	return out
}
