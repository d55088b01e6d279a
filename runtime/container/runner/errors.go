//go:build linux

package runner

import (
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

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
	var w *wire.Error
	switch {
	case errors.As(err, &k):
		out.Kind = k.kind
	case errors.As(err, &w):
		out.Kind = w.Kind
	case errors.Is(err, unix.ENOSPC):
		out.Kind = wire.KindNoSpace
	}
	return out
}
