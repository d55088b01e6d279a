package wire

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Fail makes an error of a kind that the daemon tells its callers.
func Fail(kind Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		kind = KindNoSpace
	}
	return &kindError{kind: kind, err: err}
}

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// AsError makes an error fit to cross the process boundary.
func AsError(err error) *Error {
	out := &Error{Kind: KindInternal, Message: err.Error()}
	var k *kindError
	var w *Error
	switch {
	case errors.As(err, &k):
		out.Kind = k.kind
	case errors.As(err, &w):
		out.Kind = w.Kind
	case errors.Is(err, unix.ENOSPC):
		out.Kind = KindNoSpace
	}
	return out
}
