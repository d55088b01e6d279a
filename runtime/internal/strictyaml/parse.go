package strictyaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deep brackets, and dashes on one line, may nest. No file of
// ours needs five; the parser recurses once for each, and Go ends the process
// when a stack grows without bounds.
const maxDepth = 32

const unreadable = "is not readable as YAML: "

// Position is a place in a file; lines and columns count from 1, columns in
// characters.
type Position struct{ Line, Column int }

// Document is one parsed document of a file: where each of its fields stands,
// and what is wrong with it so far.
type Document struct {
	// File is the name given to Parse.
	File string

	root  ast.Node
	above int                 // lines of the file before the document
	pos   map[string]Position // by path; filled by Decode
	errs  Errors
}

// Parse splits src into documents and parses each. Documents without content
// (nothing but comments) are left out. Documents with a syntax error are left
// out too and stand in the errors; the others are good for Decode. file is the
// name used in errors and is not opened.
func Parse(file string, src []byte) ([]*Document, Errors) {
	if err := checkText(file, src); err != nil {
		return nil, Errors{err}
	}
	chunks, errs := split(file, src)
	var docs []*Document
	for _, c := range chunks {
		d := &Document{File: file, above: c.above, pos: map[string]Position{}}
		if err := d.parse(c.text); err != nil {
			errs = append(errs, err)
		} else if d.root != nil {
			docs = append(docs, d)
		}
	}
	errs.Sort()
	return docs, errs
}

// parse fills root, which stays nil for a document without content.
func (d *Document) parse(text string) (fail *Error) {
	if len(text) > MaxDocument {
		return d.errorAt(nil, fmt.Sprintf("is a document of %d bytes", len(text)), fmt.Sprintf("up to %d bytes", MaxDocument))
	}
	// The parser is not ours and reads what anybody wrote: a panic of it is a
	// syntax error of this file and must not end the node.
	defer func() {
		if r := recover(); r != nil {
			fail = d.errorAt(nil, fmt.Sprintf("%s%v", unreadable, r), "")
		}
	}()
	tokens := joinPlain(lexer.Tokenize(text))
	if err := d.checkTokens(tokens); err != nil {
		return err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // duplicates are ours to report, with both places
	if err != nil {
		return d.syntaxError(err)
	}
	var roots []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			roots = append(roots, doc.Body)
		}
	}
	if lost := firstLost(tokens, roots); lost != nil {
		return d.errorAt(lost, fmt.Sprintf("%q is out of place", lost.Value), "")
	}
	if len(roots) > 0 {
		d.root = roots[0]
	}
	return nil
}

// refused names what YAML has and fcnode's files do not.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&name)",
	token.AliasType:      "aliases (*name)",
	token.MergeKeyType:   "merge keys (<<)",
	token.TagType:        "tags (!tag)",
	token.DirectiveType:  "directives (%)",
	token.MappingKeyType: "keys marked with ?",
}

// checkTokens refuses what the parser should not even see.
func (d *Document) checkTokens(tokens token.Tokens) *Error {
	depth, dashes, line := 0, 0, 0
	for _, tk := range tokens {
		if what, ok := refused[tk.Type]; ok {
			return d.errorAt(tk, what+" are not read here", `plain mappings, lists and scalars; a string that starts with this character stands in quotes`)
		}
		if tk.Position.Line != line {
			line, dashes = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.InvalidType:
			return d.errorAt(tk, unreadable+tk.Error, "")
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			dashes++
		default: // no structure
		}
		if depth > maxDepth || dashes > maxDepth {
			return d.errorAt(tk, "is nested too deeply", fmt.Sprintf("%d levels", maxDepth))
		}
	}
	return nil
}

// syntaxError translates an error of the parser.
func (d *Document) syntaxError(err error) *Error {
	var ye yaml.Error
	if !errors.As(err, &ye) {
		return d.errorAt(nil, unreadable+err.Error(), "")
	}
	return d.errorAt(ye.GetToken(), unreadable+ye.GetMessage(), "")
}

// errorAt makes an Error at a token; a nil token is the start of the document.
func (d *Document) errorAt(tk *token.Token, msg, allowed string) *Error {
	p := Position{Line: 1, Column: 1}
	if tk != nil && tk.Position != nil {
		p = Position{Line: max(tk.Position.Line, 1), Column: max(tk.Position.Column, 1)}
	}
	return &Error{File: d.File, Line: d.above + p.Line, Column: p.Column, Msg: strings.TrimSpace(msg), Allowed: allowed}
}

// firstLost finds the first scalar of the text that the parser took but put
// nowhere into the tree. What is not in the tree would be ignored without a
// word, which is the one thing that a strict reader may not do.
func firstLost(tokens token.Tokens, roots []ast.Node) *token.Token {
	seen := scalars{}
	if len(roots) > 0 {
		ast.Walk(seen, roots[0])
	}
	for _, tk := range tokens {
		switch tk.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.BinaryIntegerType,
			token.OctetIntegerType, token.HexIntegerType, token.FloatType, token.BoolType, token.NullType,
			token.InfinityType, token.NanType:
			if !seen[at(tk)] {
				return tk
			}
		default: // structure, and the head of a block text, whose text is a string
		}
	}
	return nil
}

// scalars collects where the scalars of a tree stand.
type scalars map[Position]bool

// Visit implements ast.Visitor.
func (s scalars) Visit(n ast.Node) ast.Visitor {
	if tk := n.GetToken(); tk != nil {
		s[at(tk)] = true
	}
	if l, ok := n.(*ast.LiteralNode); ok {
		s[at(l.Value.GetToken())] = true
	}
	return s
}

func at(tk *token.Token) Position {
	return Position{Line: tk.Position.Line, Column: tk.Position.Column}
}
