package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Code names a class of errors on the wire.
type Code string

// The codes, each with its HTTP status.
const (
	CodeNotFound    Code = "not_found"   // 404: no such site, replica, route
	CodeInvalid     Code = "invalid"     // 400: the request or a spec is wrong; see the details
	CodeForbidden   Code = "forbidden"   // 403: the caller's role does not allow it
	CodeConflict    Code = "conflict"    // 409: collides with something that exists
	CodeBusy        Code = "busy"        // 429: not now; the same call may succeed later
	CodeUnavailable Code = "unavailable" // 503: the node cannot do it (stopping, start failed, not supported here)
	CodeInternal    Code = "internal"    // 500: a fault of fcnode; the daemon's log has more
)

// Sentinels for errors.Is, in backends and in clients. A backend wraps them
// (fmt.Errorf("site %q: %w", name, api.ErrNotFound)) or returns an [*Error].
var (
	ErrNotFound    error = &Error{Code: CodeNotFound, Message: "not found"}
	ErrInvalid     error = &Error{Code: CodeInvalid, Message: "invalid"}
	ErrForbidden   error = &Error{Code: CodeForbidden, Message: "forbidden"}
	ErrConflict    error = &Error{Code: CodeConflict, Message: "conflict"}
	ErrBusy        error = &Error{Code: CodeBusy, Message: "busy"}
	ErrUnavailable error = &Error{Code: CodeUnavailable, Message: "unavailable"}
	ErrInternal    error = &Error{Code: CodeInternal, Message: "internal error"}

	// ErrUnreachable is the client's own: no daemon answered on the socket.
	ErrUnreachable = errors.New("fcnode is not reachable")
)

// Error is an error of the API, the same on both ends.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Hint is what the user can do about it.
	Hint    string   `json:"hint,omitempty"`
	Details []Detail `json:"details,omitempty"`
}

// Detail is one of several things that are wrong with a request.
type Detail struct {
	// Site whose spec is wrong.
	Site string `json:"site,omitempty"`
	// File, Line and Column of the spec, where they are known.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Field is the path of the value inside the spec: limits.memory.max.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Allowed says what would have been right.
	Allowed string `json:"allowed,omitempty"`
}

// Error gives the message and the details, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, d := range e.Details {
		b.WriteString("\n  ")
		b.WriteString(d.String())
	}
	return b.String()
}

// Is makes errors with the same code equal to errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// String formats a detail as compilers do: file:line:column: field: message.
func (d Detail) String() string {
	var b strings.Builder
	switch {
	case d.File != "" && d.Line > 0 && d.Column > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
	case d.File != "" && d.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", d.File, d.Line)
	case d.File != "":
		fmt.Fprintf(&b, "%s: ", d.File)
	case d.Site != "":
		fmt.Fprintf(&b, "site %s: ", d.Site)
	}
	if d.Field != "" {
		b.WriteString(d.Field)
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	if d.Allowed != "" {
		b.WriteString("; allowed: ")
		b.WriteString(d.Allowed)
	}
	return b.String()
}

// toWire turns any error of a backend into what a client gets to see. The outermost
// text is kept, since it says most; code, hint and details come from the *Error in
// the chain, or from errors of specs. An error without either is internal.
func toWire(err error) *Error {
	details := SpecDetails(err)
	var e *Error
	switch {
	case errors.As(err, &e):
		wire := *e
		// e's text is inside of err's; the details travel by themselves.
		wire.Message = strings.ReplaceAll(err.Error(), e.Error(), e.Message)
		if first := firstSpecError(err); first != nil {
			before, _, _ := strings.Cut(wire.Message, first.Error())
			wire.Message = cmp.Or(strings.TrimRight(before, ": \n"), e.Message)
		}
		wire.Details = append(details, e.Details...)
		return &wire
	case len(details) > 0:
		return &Error{Code: CodeInvalid, Message: countProblems(len(details)), Details: details}
	default:
		return &Error{Code: CodeInternal, Message: err.Error()}
	}
}

var statusOf = map[Code]int{
	CodeNotFound:    http.StatusNotFound,
	CodeInvalid:     http.StatusBadRequest,
	CodeForbidden:   http.StatusForbidden,
	CodeConflict:    http.StatusConflict,
	CodeBusy:        http.StatusTooManyRequests,
	CodeUnavailable: http.StatusServiceUnavailable,
	CodeInternal:    http.StatusInternalServerError,
}
