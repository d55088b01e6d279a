package spec

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs holds docs/site-spec.md to the code: its examples are valid, its bad example gives the errors that it shows, and no
// field is left out.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/site-spec.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(page)
	good := regexp.MustCompile("(?s)\n```yaml\n(.*?)```").FindAllStringSubmatch(doc, -1)
	if len(good) < 5 {
		t.Errorf("only %d examples found", len(good))
	}
	for _, example := range good {
		if _, err := Parse("example", strings.NewReader(example[1])); err != nil {
			t.Errorf("%v in the example:\n%s", err, example[1])
		}
		if err := validate(t, example[1]); err != nil {
			t.Errorf("the schema refuses the example: %v\n%s", err, example[1])
		}
	}
	bad := regexp.MustCompile("(?s)\n```yaml bad\n(.*?)```\n+```text\n(.*?)```").FindAllStringSubmatch(doc, -1)
	if len(bad) == 0 {
		t.Error("no bad example found")
	}
	for _, example := range bad {
		_, err := Parse("blog.yaml", strings.NewReader(example[1]))
		if err == nil {
			t.Fatalf("no error in the bad example:\n%s", example[1])
		}
		if diff := cmp.Diff(strings.Split(example[2], "\n"), strings.Split(err.Error()+"\n", "\n")); diff != "" {
			t.Errorf("the errors of the bad example (-shown +real):\n%s", diff)
		}
	}
	for _, field := range schemaFields(t) {
		if !strings.Contains(doc, "| `"+field+"` |") {
			t.Errorf("docs/site-spec.md does not explain %s", field)
		}
	}
}

// schemaFields gives the paths of all fields of the schema, those that hold fields left out.
func schemaFields(t *testing.T) []string {
	t.Helper()
	type node struct {
		Ref        string           `json:"$ref"`
		Properties map[string]*node `json:"properties"`
		Items      *node            `json:"items"`
		AnyOf      []*node          `json:"anyOf"`
		Defs       map[string]*node `json:"$defs"`
	}
	var root node
	if err := json.Unmarshal(readSchema(t), &root); err != nil {
		t.Fatal(err)
	}
	var fields []string
	var walk func(n *node, path string) bool
	walk = func(n *node, path string) (inner bool) {
		if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
			n = root.Defs[name]
		}
		if n.Items != nil && walk(n.Items, path+"[]") {
			return true
		}
		for _, option := range n.AnyOf {
			inner = walk(option, path) || inner
		}
		for name, p := range n.Properties {
			at := strings.TrimPrefix(path+"."+name, ".")
			if !walk(p, at) {
				fields = append(fields, at)
			}
			inner = true
		}
		return inner
	}
	walk(&root, "")
	if len(fields) < 25 {
		t.Errorf("only %d fields in the schema: %v", len(fields), fields)
	}
	return fields
}
