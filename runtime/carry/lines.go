package carry

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// lines are those on which the settings of a file stand, by their paths:
// services.web.ports[0].
type lines map[string]int

func linesOf(src []byte) (out lines) {
	out = lines{}
	defer func() {
		if recover() != nil { // the parser is not ours; who reads the file for its meaning has reported it
			out = lines{}
		}
	}()
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return out
	}
	w := walker{lines: out, anchors: map[string]ast.Node{}}
	for _, doc := range file.Docs {
		w.value("", doc.Body, 0)
	}
	return out
}

// of gives the line of a path, or of the nearest thing around it.
func (l lines) of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// walker follows aliases and merge keys, as files have them for what is common to
// services.
type walker struct {
	lines   lines
	anchors map[string]ast.Node
}

// mostDepth bounds what aliases may nest.
const mostDepth = 32

func (w walker) value(path string, n ast.Node, depth int) {
	if n == nil || depth > mostDepth || len(w.lines) > 100_000 {
		return
	}
	switch v := n.(type) {
	case *ast.AnchorNode:
		w.anchors[v.Name.GetToken().Value] = v.Value
		w.value(path, v.Value, depth+1)
	case *ast.AliasNode:
		w.value(path, w.anchors[v.Value.GetToken().Value], depth+1)
	case *ast.TagNode:
		w.value(path, v.Value, depth+1)
	case ast.MapNode:
		for it := v.MapRange(); it.Next(); {
			if it.Key().Type() == ast.MergeKeyType {
				w.value(path, it.Value(), depth+1)
				continue
			}
			at := it.Key().GetToken().Value
			if path != "" {
				at = path + "." + at
			}
			if _, known := w.lines[at]; !known {
				w.lines[at] = it.Key().GetToken().Position.Line
			}
			w.value(at, it.Value(), depth+1)
		}
	case *ast.SequenceNode:
		for i, entry := range v.Values {
			at := fmt.Sprintf("%s[%d]", path, i)
			if _, known := w.lines[at]; !known && entry != nil {
				w.lines[at] = entry.GetToken().Position.Line
			}
			w.value(at, entry, depth+1)
		}
	}
}
