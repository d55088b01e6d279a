package api

import (
	"errors"
	"io"
	"sync"
)

// readErrors remembers the error of a body's reader, which is the caller's own and not
// the connection's.
type readErrors struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (e *readErrors) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		e.mu.Lock()
		e.err = err
		e.mu.Unlock()
	}
	return n, err
}

func (e *readErrors) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
