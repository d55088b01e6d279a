package carry

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/spec"
)

// TestDocs walks through docs/compose.md: what the page says the command prints is what it prints, what it says is written in the
// end can be applied, and its table has every setting.
func TestDocs(t *testing.T) {
	const path = "../../docs/compose.md"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	parts := strings.Split(page, "```")
	if len(parts) != 9 {
		t.Fatalf("the page has %d blocks, want 4", len(parts)/2)
	}
	block := func(i int) string { return strings.TrimLeft(strings.TrimPrefix(parts[2*i+1], "yaml"), "\n") }
	file := filepath.Join(t.TempDir(), "compose.yaml")
	r, err := Compose(t.Context(), ComposeFile{Path: file, Text: []byte(block(0)), Getenv: environment}, "blog")
	if err != nil || len(r.Sites) != 1 {
		t.Fatalf("%d sites: %v", len(r.Sites), err)
	}
	text, err := r.Sites[0].Format()
	if diff := cmp.Diff(block(1), string(text)); err != nil || diff != "" {
		t.Errorf("the spec: %v (-page +is):\n%s", err, diff)
	}
	var notes strings.Builder
	for _, n := range r.Notes {
		fmt.Fprintln(&notes, strings.TrimPrefix(n.String(), filepath.Dir(file)+"/"))
	}
	if diff := cmp.Diff(block(2), notes.String()); diff != "" {
		t.Errorf("the list (-page +is):\n%s", diff)
	}
	last, err := spec.Parse("blog.yaml", strings.NewReader(block(3)))
	if err != nil || len(last) != 1 || last[0].Image != r.Sites[0].Image || last[0].Env["WORDPRESS_DB_HOST"] != "db:3306" {
		t.Errorf("what it becomes: %+v, %v", last, err)
	}
	db, err := Compose(t.Context(), ComposeFile{Path: file, Text: []byte(block(0)), Getenv: environment, Ports: map[string][]spec.Port{"db": {{Port: 3306, Proto: "tcp"}}}}, "db")
	if err != nil || len(db.Sites) != 1 {
		t.Errorf("the database as a site: %+v, %v", db, err)
	}

	const head = "| setting | reason |\n|---|---|\n"
	above, table, _ := strings.Cut(page, head)
	var want strings.Builder
	for _, all := range []map[string]string{reasons, means} {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(&want, "| `%s` | %s |\n", key, all[key])
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(above+head+want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		table = want.String()
	}
	if diff := cmp.Diff(want.String(), table); diff != "" {
		t.Errorf("the table of %s (-update writes it; -want +got):\n%s", path, diff)
	}
	for _, key := range handled {
		if key != "deploy" && key != "extends" && key != "name" && !strings.Contains(above, "`"+key+"`") {
			t.Errorf("the page does not say that %s is carried over", key)
		}
	}
}
