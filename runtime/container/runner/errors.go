package runner

import "github.com/fcnode/fcnode/runtime/container/wire"

// fail makes an error of a kind that the daemon tells its callers.
func fail(kind wire.Kind, format string, args ...any) error { return wire.Fail(kind, format, args...) }

// asError makes an error fit to cross the process boundary.
func asError(err error) *wire.Error { return wire.AsError(err) }
