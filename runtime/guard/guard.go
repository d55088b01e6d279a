package guard

import (
	"fmt"
	"runtime/debug"
)

// Fault is a panic, as an error.
type Fault struct {
	Value any
	Stack []byte // of the goroutine, at the panic
	Told  bool   // people know of it
}

// Error implements error. The stack is for the daemon's log.
func (f *Fault) Error() string { return fmt.Sprintf("panic: %v", f.Value) }

// Unwrap gives what was panicked with, where that was an error.
func (f *Fault) Unwrap() error {
	err, _ := f.Value.(error)
	return err
}

// Of makes a fault of what recover has returned. The deferred function that
// recovers calls it, as the stack is that of its goroutine. A fault that is
// passed on stays the one that it is, and what comes from another goroutine
// (thread.Panic) has the stack of that.
func Of(recovered any) *Fault {
	switch p := recovered.(type) {
	case *Fault:
		return p
	case interface {
		Origin() (value any, stack []byte)
	}:
		value, stack := p.Origin()
		if f, ok := value.(*Fault); ok {
			return f
		}
		return &Fault{Value: value, Stack: stack}
	}
	return &Fault{Value: recovered, Stack: debug.Stack()}
}

// Run calls f, and returns its panic; nil: none.
func Run(f func()) (fault *Fault) {
	defer func() {
		if p := recover(); p != nil {
			fault = Of(p)
		}
	}()
	f()
	return nil
}
