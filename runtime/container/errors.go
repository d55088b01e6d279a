package container

import (
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/wire"
)

// The failures of Start that callers tell apart.
var (
	// ErrExec means that the site's program cannot be executed: it is missing,
	// made for another machine, or its interpreter is missing.
	ErrExec = errors.New("the program cannot be executed")
	// ErrRootfs means that the root file system cannot be mounted.
	ErrRootfs = errors.New("the root file system cannot be mounted")
	// ErrUser means that the user is not in the image.
	ErrUser = errors.New("unknown user")
	// ErrMount means that a volume cannot be mounted.
	ErrMount = errors.New("a volume cannot be mounted")
	// ErrNoSpace means that a disk is full.
	ErrNoSpace = errors.New("no space left")
	// ErrExists means that there is a container of that ID.
	ErrExists = errors.New("the container exists")
	// ErrNotRunning means that the container has ended.
	ErrNotRunning = errors.New("the container is not running")
	// ErrSpec means that the Spec cannot be right, whatever the machine.
	ErrSpec = errors.New("invalid container spec")
)

// StartError is a failure of the runner. errors.Is finds the sentinel of its kind.
type StartError struct {
	ID      string
	Kind    error // one of the sentinels, or nil
	Message string
}

func (e *StartError) Error() string { return e.Message }

func (e *StartError) Unwrap() error { return e.Kind }

// fromWire gives an error of another process its sentinel.
func fromWire(id string, e *wire.Error) error {
	if e == nil {
		return nil
	}
	kinds := map[wire.Kind]error{
		wire.KindExec: ErrExec, wire.KindRootfs: ErrRootfs, wire.KindUser: ErrUser,
		wire.KindMount: ErrMount, wire.KindNoSpace: ErrNoSpace, wire.KindGone: ErrNotRunning,
		wire.KindRestore: criu.ErrRestore, wire.KindUnusable: criu.ErrUnusable,
	}
	return &StartError{ID: id, Kind: kinds[e.Kind], Message: e.Message}
}

func specError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSpec, fmt.Errorf(format, args...))
}
