package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
)

// Exit codes; see docs/cli.md. `exec` exits as its command does.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
	exitInterrupted = 130
)

// exitCode ends the program with a code, about which everything has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// hinted is an error with something that the user can do about it.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.err }

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, e *env, args []string) int {
	root := newRoot(e)
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var code exitCode
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	case !e.parsed:
		err = &hinted{err: err, hint: fmt.Sprintf("see `%s --help`", cmd.CommandPath())}
		report(e.stderr, err)
		return exitUsage
	}
	report(e.stderr, err)
	switch {
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	case errors.Is(err, api.ErrUnreachable):
		return exitUnreachable
	default:
		return exitFailure
	}
}

// report prints an error in one line, then its details, then the hint.
func report(w io.Writer, err error) {
	// Errors in files that were read here; the server's are in its error's
	// text.
	if details := api.SpecDetails(err); len(details) > 1 {
		err = &api.Error{Message: fmt.Sprintf("there are %d errors", len(details)), Details: details}
	}
	first, rest, more := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(w, "fcnode: %s\n", first)
	if more {
		for line := range strings.Lines(rest) {
			fmt.Fprintf(w, "  %s\n", strings.TrimSpace(line))
		}
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", hint)
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	var e *api.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
