package api

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/runtime/spec"
)

// decodeSites reads and checks specs that came over the wire, as strictly as those from
// files, and reports everything that is wrong with any of them.
func decodeSites(raw []json.RawMessage) ([]spec.Site, error) {
	sites := make([]spec.Site, 0, len(raw))
	var details []Detail
	for i := range raw {
		site, err := spec.FromJSON(raw[i])
		if err == nil {
			err = site.Validate()
		}
		details = append(details, siteDetails(i, site.Name, err)...)
		sites = append(sites, site)
	}
	if len(details) > 0 {
		return nil, &Error{Code: CodeInvalid, Message: countProblems(len(details)), Details: details}
	}
	return sites, nil
}

// siteDetails names the site, or its place in the request, in what is wrong with it.
func siteDetails(i int, name string, err error) []Detail {
	if err == nil {
		return nil
	}
	if name == "" {
		name = fmt.Sprintf("%d of the request", i+1)
	}
	details := SpecDetails(err)
	if len(details) == 0 {
		details = []Detail{{Message: err.Error()}}
	}
	for j := range details {
		details[j].Site = name
	}
	return details
}

func countProblems(n int) string {
	if n == 1 {
		return "the spec has an error"
	}
	return fmt.Sprintf("the specs have %d errors", n)
}

func firstSpecError(err error) *spec.Error {
	var first *spec.Error
	errors.As(err, &first)
	return first
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
