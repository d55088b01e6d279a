// Package gotest reads what `go test -json` prints.
package gotest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Event is one line of it: see `go doc test2json`. Without a Test it is about the package.
type Event struct{ Action, Package, Test, Output string }

// Events goes through the events of a run, and ends with an error when a line is none.
func Events(in io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for dec := json.NewDecoder(bufio.NewReader(in)); ; {
			var e Event
			err := dec.Decode(&e)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(e, fmt.Errorf("reading go test's events: %w", err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
