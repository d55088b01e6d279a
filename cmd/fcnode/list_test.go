package main

import (
	"strings"
	"testing"
)

// TestClause: a table has room for one short clause of a reason.
func TestClause(t *testing.T) {
	long := strings.Repeat("ö", 100)
	for in, want := range map[string]string{
		"idle 5m": "idle 5m", "": "",
		"the dump failed:\n(00.1) Error: x\n(00.2)": "the dump failed…",
		long: strings.Repeat("ö", mostClause-1) + "…",
	} {
		if got := clause(in); got != want {
			t.Errorf("clause(%q) = %q, want %q", in, got, want)
		}
	}
}
