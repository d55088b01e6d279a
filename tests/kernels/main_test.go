package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if os.Getenv(envCounter) != "" {
		fmt.Fprintln(os.Stderr, count())
		os.Exit(1)
	}
	testutil.Main(m)
}

func TestPageIsCurrent(t *testing.T) {
	committed, err := os.ReadFile("../../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), page()); diff != "" {
		t.Errorf("docs/kernels.md is not what the table gives (make docs):\n%s", diff)
	}
}

// TestRootTablesAgree holds the daemon's list of features to the tests' table: the same
// name, version and necessity in both.
func TestRootTablesAgree(t *testing.T) {
	testutil.Privileged(t)
	table := map[string]testutil.Feature{}
	for _, f := range testutil.Features {
		table[f.Name] = f
	}
	for _, f := range bpf.Probe() {
		ours, ok := table[f.Name]
		if !ok {
			t.Errorf("bpf.Probe asks for %q, which is not in tests/testutil/table.go", f.Name)
			continue
		}
		if ours.Since.String() != f.Since {
			t.Errorf("%s: since %s in the table, %s in bpf.Probe", f.Name, ours.Since, f.Since)
		}
		if required := ours.Else == ""; required != f.Required {
			t.Errorf("%s: required is %v in the table, %v in bpf.Probe", f.Name, required, f.Required)
		}
		if works := ours.Probe() == nil; works != (f.Err == nil) {
			t.Errorf("%s: works is %v by the table's probe, %v by bpf.Probe (%v)", f.Name, works, f.Err == nil, f.Err)
		}
	}
}
