package api

import (
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/runtime/spec"
)

// validate checks specs that came over the wire as strictly as those from files.
func validate(sites []spec.Site) error {
	var details []Detail
	for i := range sites {
		err := sites[i].Validate()
		if err == nil {
			continue
		}
		found := SpecDetails(err)
		if len(found) == 0 {
			found = []Detail{{Message: err.Error()}}
		}
		for _, d := range found {
			d.Site = sites[i].Name
			details = append(details, d)
		}
	}
	if len(details) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: countProblems(len(details)), Details: details}
}

func countProblems(n int) string {
	if n == 1 {
		return "the spec has an error"
	}
	return fmt.Sprintf("the specs have %d errors", n)
}

// SpecDetails finds all *spec.Error in the tree of err, in order.
func SpecDetails(err error) []Detail {
	switch e := err.(type) { //nolint:errorlint // this walks the tree itself
	case nil:
		return nil
	case *spec.Error:
		return []Detail{{File: e.File, Line: e.Line, Column: e.Column, Field: e.Field, Message: e.Msg, Allowed: e.Allowed}}
	case interface{ Unwrap() []error }:
		var all []Detail
		for _, child := range e.Unwrap() {
			all = append(all, SpecDetails(child)...)
		}
		return all
	default:
		return SpecDetails(errors.Unwrap(err))
	}
}
