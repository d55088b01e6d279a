package spec_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "two.yaml")
	text := "name: one\nvolumes: [{source: /a, target: /b}]\n---\nname: two\nvolumes:\n  - target: /b\n    source: /a\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, dir} {
		for _, tt := range []struct {
			site, field  string
			line, column int
		}{
			{"one", "volumes[0].source", 2, 20},
			{"two", "volumes[0].source", 7, 13},
			{"two", "volumes[1].source", 0, 0},
			{"three", "volumes[0].source", 0, 0},
		} {
			got, line, column := spec.Locate(path, tt.site, tt.field)
			if line != tt.line || column != tt.column || (line > 0) != (got == file) {
				t.Errorf("%s of %s in %s: %s:%d:%d, want %d:%d", tt.field, tt.site, path, got, line, column, tt.line, tt.column)
			}
		}
	}
	if file, line, _ := spec.Locate(filepath.Join(dir, "none"), "one", "name"); file != "" || line != 0 {
		t.Errorf("in no file: %s:%d", file, line)
	}
}
