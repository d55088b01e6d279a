package api

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/event"
)

// The examples of docs/api.md have the fields that the types have, and the table of
// codes is complete.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for heading, into := range map[string]any{
		"Site": new(Site), "Why": new(Why), "Trace": new(event.Trace), "Event": new(event.Event), "LogLine": new(LogLine), "NodeInfo": new(NodeInfo), "RouteUpdate": new(RouteUpdate),
		"SpecFile": new(SpecFile), "Pull": new(Pull),
	} {
		dec := json.NewDecoder(strings.NewReader(example(t, page, heading)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			t.Errorf("the example of %s: %v", heading, err)
		}
	}
	for code, status := range statusOf {
		if row := fmt.Sprintf("| `%s` | %d |", code, status); !strings.Contains(page, row) {
			t.Errorf("docs/api.md has no row %s", row)
		}
	}
}

// example gives the first indented block below a heading.
func example(t *testing.T, page, heading string) string {
	t.Helper()
	_, below, ok := strings.Cut(page, "\n### "+heading+"\n\n")
	if !ok {
		t.Fatalf("docs/api.md has no heading %s", heading)
	}
	block, _, _ := strings.Cut(below, "\n\n")
	return strings.ReplaceAll(block, ", …}", "}")
}
