package criu

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrUnusable means that an image does not fit what it is to be used for, or
	// is damaged. It is of no use any more: throw it away and start cold.
	ErrUnusable = errors.New("the checkpoint image cannot be used")
	// ErrDump means that CRIU could not dump the processes. They live on.
	ErrDump = errors.New("the processes could not be checkpointed")
	// ErrHung means that CRIU had to be killed in the middle of a dump. What it has
	// put into the processes may have harmed them: end them.
	ErrHung = errors.New("CRIU had to be killed in the middle of a dump")
	// ErrRestore means that CRIU could not restore an image. Nothing is left of
	// the attempt.
	ErrRestore = errors.New("the checkpoint could not be restored")
	// ErrUnavailable means that there is no CRIU that works on this machine.
	ErrUnavailable = errors.New("no usable CRIU")
)

// Failure is what CRIU said when it did not do what it was asked for.
type Failure struct {
	Op    string // "dump", "restore", …
	Kind  error  // ErrDump or ErrRestore, or nil
	Errno int32
	Log   []string // the lines that matter
	Err   error
}

func (e *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "criu %s failed", e.Op)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if len(e.Log) > 0 {
		fmt.Fprintf(&b, "; its log: %s", strings.Join(e.Log, " | "))
	}
	return b.String()
}

func (e *Failure) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnusable, fmt.Errorf(format, args...))
}
