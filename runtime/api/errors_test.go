package api

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/spec"
)

func TestToWire(t *testing.T) {
	specErr := &spec.Error{File: "a.yaml", Line: 3, Column: 7, Field: "idle", Msg: "is not a duration", Allowed: "5m"}
	detail := Detail{File: "a.yaml", Line: 3, Column: 7, Field: "idle", Message: "is not a duration", Allowed: "5m"}
	tests := []struct {
		name string
		err  error
		want Error
	}{
		{"sentinel", fmt.Errorf("site %q: %w", "x", ErrNotFound), Error{Code: CodeNotFound, Message: `site "x": not found`}},
		{"unknown", io.ErrUnexpectedEOF, Error{Code: CodeInternal, Message: "unexpected EOF"}},
		{
			"hint and details survive wrapping",
			fmt.Errorf("apply: %w", &Error{Code: CodeConflict, Message: "taken", Hint: "choose", Details: []Detail{{Message: "d"}}}),
			Error{Code: CodeConflict, Message: "apply: taken", Hint: "choose", Details: []Detail{{Message: "d"}}},
		},
		{
			"spec errors", fmt.Errorf("read: %w", errors.Join(specErr, specErr)),
			Error{Code: CodeInvalid, Message: "the specs have 2 errors", Details: []Detail{detail, detail}},
		},
		{
			"spec errors of another class", fmt.Errorf("apply: %w: %w", ErrConflict, errors.Join(specErr, specErr)),
			Error{Code: CodeConflict, Message: "apply: conflict", Details: []Detail{detail, detail}},
		},
		{"one spec error", specErr, Error{Code: CodeInvalid, Message: "the spec has an error", Details: []Detail{detail}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := toWire(tt.err)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Error(diff)
			}
			if statusOf[got.Code] == 0 {
				t.Errorf("code %s has no HTTP status", got.Code)
			}
		})
	}
}

func TestErrorIs(t *testing.T) {
	sentinels := []error{ErrNotFound, ErrInvalid, ErrConflict, ErrBusy, ErrUnavailable, ErrInternal}
	for i, a := range sentinels {
		for j, b := range sentinels {
			if errors.Is(fmt.Errorf("x: %w", a), b) != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %v", a, b, i != j)
			}
		}
	}
}

func TestDetailString(t *testing.T) {
	tests := []struct {
		d    Detail
		want string
	}{
		{Detail{File: "a.yaml", Line: 3, Column: 7, Field: "idle", Message: "bad", Allowed: "5m, auto"}, "a.yaml:3:7: idle: bad; allowed: 5m, auto"},
		{Detail{File: "a.yaml", Line: 3, Message: "bad"}, "a.yaml:3: bad"},
		{Detail{File: "a.yaml", Message: "bad"}, "a.yaml: bad"},
		{Detail{Site: "blog", Field: "name", Message: "bad"}, "site blog: name: bad"},
	}
	for _, tt := range tests {
		if got := tt.d.String(); got != tt.want {
			t.Errorf("%+v = %q, want %q", tt.d, got, tt.want)
		}
	}
}
