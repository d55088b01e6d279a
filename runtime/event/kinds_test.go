package event

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -count=1 -run ^TestDocsAreCurrent$ . -update

var update = flag.Bool("update", false, "write docs/events.md")

const docs = "../../docs/events.md"

// TestDocsAreCurrent: docs/events.md is what the table of kinds says.
func TestDocsAreCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Events

<!-- generated from runtime/event/kinds.go: make generate -->

` + "`fcnode events`" + ` prints what the node decided about which site, when and why; with ` + "`-o json`" + ` each event is a line of JSON with
the members ` + "`seq`, `time`, `site`, `replica`, `kind`, `reason`, `text` and `fields`" + `.
They are kept in ` + "`events/events.jsonl`" + ` below the state folder.
Kinds may be added; what a kind means does not change.

| kind | meaning | fields | what to do |
|---|---|---|---|
`)
	for _, k := range Kinds {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Kind, k.Meaning, k.Fields, k.Do)
	}
	if *update {
		if err := os.WriteFile(docs, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what the table of kinds says: run make generate", docs)
	}
}

// TestEachKindIsDescribed: constants and table have the same kinds, each once.
func TestEachKindIsDescribed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Kind]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 || v.Names[0].Name == "Not" {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			kind, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[kind] = true
		}
		return true
	})
	for _, k := range Kinds {
		if !declared[k.Kind] || k.Meaning == "" {
			t.Errorf("%q is described twice, without a meaning, or declared nowhere", k.Kind)
		}
		delete(declared, k.Kind)
	}
	for k := range declared {
		t.Errorf("%q is not described", k)
	}
}
