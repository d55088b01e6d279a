package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/fcnode/fcnode/runtime/container/wire"
)

// hold makes a container up to the exec fifo, waits there for the daemon to
// open it, and lets it go on. Until then nothing is recorded, so that a daemon
// that comes after a dead one finds nothing to adopt: this process ends with
// the connection, and the shim ends the rest.
func (s *server) hold(req wire.StartRequest, netns *os.File) error {
	if err := s.made(req, netns); err != nil {
		return s.answer(err)
	}
	init, err := s.init.Open()
	if err != nil {
		return s.answer(fmt.Errorf("preparing container %s: %w", req.ID, err))
	}
	go endWith(init)
	debug.FreeOSMemory() // it may wait for hours
	_ = s.answer(nil)    // a daemon that is gone is met with below
	var open wire.OpenRequest
	_, err = wire.Recv(s.conn, &open)
	_ = init.Close() // the end of init is told by what follows
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting at the gate of container %s: %w", req.ID, err)
	}
	s.steps = nil
	s.step("received")
	return s.answer(s.open(req))
}

// made is start, as far as it goes without a trace on disk.
func (s *server) made(req wire.StartRequest, netns *os.File) error {
	if err := s.ask(req, netns); err != nil {
		return err
	}
	_ = netns.Close() // init has its own
	return s.created(req)
}

// open records init and lets it go on. The monitor learns of it afterwards, as
// its work would take the program's CPU: what the program writes until then
// waits in the pipes, and should this process be killed in between, the shim
// ends everything.
func (s *server) open(req wire.StartRequest) error {
	if err := wire.WriteFile(req.Dir, wire.InitFile, s.init); err != nil {
		return err
	}
	s.step("recorded init")
	if err := hugePagesOn(s.filter); err != nil {
		return fmt.Errorf("allowing huge pages to container %s: %w", req.ID, err)
	}
	if err := s.letRun(req); err != nil {
		return err
	}
	return errors.Join(s.tellMonitor(req), s.executed(req))
}

// endWith ends this process, and by that the daemon's hopes, when the waiting
// init is killed. It returns when the descriptor is closed.
func endWith(init *os.File) {
	if wire.WaitEnd(init) == nil {
		os.Exit(1)
	}
}
