package strictyaml

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Shape is how a value is written.
type Shape int

// The shapes.
const (
	Scalar1 Shape = iota // a scalar on the line of its key or dash
	Other                // a scalar of several lines, or something in brackets
	Mapping              // in lines of its own
	List                 // likewise
)

// Part is one field of a mapping, or one entry of a list, and the lines of the file
// that it takes: those of its comments above are not among them.
type Part struct {
	Name        string // of a field; the number of an entry
	First, Last int    // lines, from 1
	Indent      int    // characters before its key or dash
	Shape       Shape
	Parts       []Part // of a block mapping or list
	// Start and End are the bytes of the scalar in its line, if it is one of one line.
	Start, End int
}

// Layout says where the parts of the document stand in the text that it was parsed
// from. ok is false for a document in brackets, whose lines say nothing.
func (d *Document) Layout(src []byte) (root Part, ok bool) {
	m, isMap := d.root.(ast.MapNode)
	if !isMap || flow(d.root) {
		return Part{}, false
	}
	l := layout{d: d, lines: strings.Split(strings.TrimPrefix(string(src), "\ufeff"), "\n")}
	last := len(l.lines)
	for i := d.above + 1; i <= len(l.lines); i++ {
		if mark, _ := markOf(l.lines[i-1]); mark {
			last = i - 1
			break
		}
	}
	root = Part{First: d.Start().Line, Last: last, Indent: -1, Shape: Mapping}
	root.Last = l.trim(root.First, last, 0)
	root.Parts = l.fields(m, root.Last)
	return root, true
}

type layout struct {
	d     *Document
	lines []string
}

func flow(n ast.Node) bool {
	switch v := n.(type) {
	case *ast.MappingNode:
		return v.IsFlowStyle
	case *ast.SequenceNode:
		return v.IsFlowStyle
	}
	return false
}

// trim leaves out empty lines and comments at the end, but for comments that are
// indented deeper.
func (l *layout) trim(first, last, indent int) int {
	for ; last > first; last-- {
		text := strings.TrimSpace(l.lines[last-1])
		if text != "" && (text[0] != '#' || indentOf(l.lines[last-1]) > indent) {
			break
		}
	}
	return last
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func (l *layout) fields(m ast.MapNode, last int) []Part {
	var parts []Part
	var values []ast.Node
	for it := m.MapRange(); it.Next(); {
		at := l.d.position(it.Key().GetToken())
		name := it.Key().GetToken().Value
		parts, values = append(parts, Part{Name: name, First: at.Line, Indent: at.Column - 1}), append(values, it.Value())
	}
	return l.close(parts, values, last)
}

func (l *layout) entries(s *ast.SequenceNode, last int) []Part {
	var parts []Part
	for i, v := range s.Values {
		line := l.d.startOf(v).Line
		for line > 1 && !strings.HasPrefix(strings.TrimSpace(l.lines[line-1]), "-") {
			line--
		}
		parts = append(parts, Part{Name: strconv.Itoa(i), First: line, Indent: indentOf(l.lines[line-1])})
	}
	return l.close(parts, s.Values, last)
}

// close finds where the parts end, and what is in them.
func (l *layout) close(parts []Part, values []ast.Node, last int) []Part {
	for i := range parts {
		p := &parts[i]
		p.Last = last
		if i+1 < len(parts) {
			p.Last = parts[i+1].First - 1
		}
		p.Last = l.trim(p.First, p.Last, p.Indent)
		l.describe(p, values[i])
	}
	return parts
}

func (l *layout) describe(p *Part, n ast.Node) {
	p.Shape = Other
	switch v := n.(type) {
	case nil:
	case ast.MapNode:
		if !flow(n) && l.d.startOf(n).Line > p.First {
			p.Shape, p.Parts = Mapping, l.fields(v, p.Last)
		}
	case *ast.SequenceNode:
		if !v.IsFlowStyle {
			p.Shape, p.Parts = List, l.entries(v, p.Last)
		}
	default:
		l.scalar(p, n.GetToken())
	}
}

// scalar finds the bytes of a scalar of one line.
func (l *layout) scalar(p *Part, tk *token.Token) {
	at := l.d.position(tk)
	if at.Line != p.First || p.Last != p.First || tk.Type == token.LiteralType || tk.Type == token.FoldedType {
		return
	}
	line := strings.TrimSuffix(l.lines[at.Line-1], "\r")
	runes := []rune(line)
	start := len(string(runes[:min(at.Column-1, len(runes))]))
	rest := line[start:]
	end := len(rest)
	switch tk.Type {
	case token.DoubleQuoteType, token.SingleQuoteType:
		quote := rest[0]
		for end = 1; end < len(rest) && rest[end] != quote; end++ {
			if quote == '"' && rest[end] == '\\' {
				end++
			}
			if quote == '\'' && strings.HasPrefix(rest[end+1:], "'") && rest[end] == '\'' {
				end++
			}
		}
		end++
	default:
		if i := strings.Index(rest, " #"); i >= 0 {
			end = i
		}
		end = len(strings.TrimRight(rest[:end], " \t"))
	}
	p.Shape, p.Start, p.End = Scalar1, start, start+min(end, len(rest))
}
