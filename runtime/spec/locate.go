package spec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Locate finds where a field of a site stands, in a file or in the files of a folder. It is for errors that are found only when all
// has been read; line is 0 where there is no such field.
func Locate(path, site, field string) (file string, line, column int) {
	files := []string{path}
	if fi, err := os.Stat(path); err != nil {
		return "", 0, 0
	} else if fi.IsDir() {
		yaml, _ := filepath.Glob(filepath.Join(path, "*.yaml")) // the patterns are well-formed
		yml, _ := filepath.Glob(filepath.Join(path, "*.yml"))
		files = slices.Concat(yaml, yml)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if line, column := LocateIn(src, site, field); line > 0 {
			return name, line, column
		}
	}
	return "", 0, 0
}

// LocateIn finds where a field of a site stands in a text, or the plain value that stands for it (limits: {memory: 1GiB} for
// limits.memory.max); line is 0 where there is no such field.
func LocateIn(src []byte, site, field string) (line, column int) {
	docs, _ := strictyaml.Parse("", src) // what is wrong was told before
	for _, doc := range docs {
		var s Site
		doc.Decode(&s)
		if s.Name != site {
			continue
		}
		for _, field := range []string{field, field[:max(strings.LastIndexByte(field, '.'), 0)]} {
			if field != "" && doc.Has(field) {
				at := doc.Position(field)
				return at.Line, at.Column
			}
		}
	}
	return 0, 0
}
