package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one complaint about one place of a file. Its JSON form is what the
// API sends.
type Error struct {
	// File as the caller named it; empty for a value that came from no file.
	File string `json:"file,omitempty"`
	// Line and Column count from 1, columns in characters; 0 is unknown.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Field is the path of the field, as in "volumes[1].target"; empty for the
	// document itself.
	Field string `json:"field,omitempty"`
	// Msg says what is wrong.
	Msg string `json:"msg"`
	// Allowed says what may stand there instead; empty where Msg says it all.
	Allowed string `json:"allowed,omitempty"`
}

// Error gives "file:line:column: field: what is wrong; allowed: what may stand
// there".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Where())
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field)
		b.WriteString(": ")
	}
	b.WriteString(e.Msg)
	if e.Allowed != "" {
		b.WriteString("; allowed: ")
		b.WriteString(e.Allowed)
	}
	return b.String()
}

// Where gives "file:line:column" as editors and compilers write it, as much of
// it as is known.
func (e *Error) Where() string {
	switch {
	case e.Line == 0:
		return e.File
	case e.Column == 0:
		return fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// Errors is all that is wrong, in the order of the file. errors.As finds the
// single *Error.
type Errors []*Error

// Error gives one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes the single errors visible to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Err gives e as an error: nil when there is none, which a nil Errors in an
// error interface would not be.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort orders the errors by file and position, as a reader walks through them.
func (e Errors) Sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Invalid is what a value has to say about itself: what is wrong and what is
// allowed. It knows no position; who decodes adds it.
type Invalid struct {
	Msg     string
	Allowed string
}

// Error gives "what is wrong; allowed: what may stand there".
func (e *Invalid) Error() string { return (&Error{Msg: e.Msg, Allowed: e.Allowed}).Error() }

// Bad makes an Invalid; msg and args as in fmt.Sprintf.
func Bad(allowed, msg string, args ...any) *Invalid {
	return &Invalid{Msg: fmt.Sprintf(msg, args...), Allowed: allowed}
}
