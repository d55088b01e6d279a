package strictyaml

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Decode fills the struct that into points to. What is wrong is kept for Errs;
// what was right is set all the same, so that the values can be checked and all
// complaints of a file come at once. Fields that the file leaves out are not
// touched.
func (d *Document) Decode(into any) {
	d.pos[""] = d.Start()
	d.value(d.root, reflect.ValueOf(into).Elem(), "", d.pos[""])
}

// Start gives where the content of the document begins.
func (d *Document) Start() Position { return d.startOf(d.root) }

func (d *Document) startOf(n ast.Node) Position {
	// The token of a block mapping is the colon of its first field.
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return d.position(m.Values[0].Key.GetToken())
	}
	return d.position(n.GetToken())
}

// Position gives the place of a field by its path, or of the nearest thing
// around it that is in the file.
func (d *Document) Position(path string) Position {
	for {
		if p, ok := d.pos[path]; ok || path == "" {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// Reject reports what is wrong with the value of a field. A field, part or
// whole that already has an error is let off, as the one would only follow from
// the other.
func (d *Document) Reject(path string, err error) {
	for _, e := range d.errs {
		if e.Field != "" && (within(e.Field, path) || within(path, e.Field)) {
			return
		}
	}
	d.report(d.Position(path), path, err)
}

// Has says whether the file has a field, by its path.
func (d *Document) Has(path string) bool {
	_, ok := d.pos[path]
	return ok
}

// Errs gives what is wrong with the document so far, in the order of the file.
func (d *Document) Errs() Errors {
	d.errs.Sort()
	return d.errs
}

// within says whether the path inner is outer or a part of it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

func (d *Document) report(p Position, path string, err error) {
	e := &Error{File: d.File, Line: p.Line, Column: p.Column, Field: path, Msg: err.Error()}
	var bad *Invalid
	if errors.As(err, &bad) {
		e.Msg, e.Allowed = bad.Msg, bad.Allowed
	}
	d.errs = append(d.errs, e)
}

func (d *Document) position(tk *token.Token) Position {
	if tk == nil || tk.Position == nil {
		return Position{Line: d.above + 1, Column: 1}
	}
	return Position{Line: d.above + tk.Position.Line, Column: tk.Position.Column}
}

// value decodes a node of any kind. key is where to complain about a value that
// is not there.
func (d *Document) value(n ast.Node, v reflect.Value, path string, key Position) {
	if n == nil || n.Type() == ast.NullType {
		d.report(key, path, Bad(allowed(v.Type()), "has no value (leave the field out for its default)"))
		return
	}
	if path != "" {
		d.pos[path] = d.position(n.GetToken())
	}
	if v.Kind() == reflect.Pointer { // nil: left out
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if m, ok := n.(ast.MapNode); ok {
		d.pos[path] = d.startOf(n)
		d.mapping(m, v, path)
		return
	}
	if s, ok := scalarOf(n); ok {
		if err := decodeScalar(s, v); err != nil {
			d.report(d.pos[path], path, err)
		}
		return
	}
	list, ok := n.(*ast.SequenceNode)
	if to, into := v.Addr().Interface().(ListDecoder); ok && into {
		inner := reflect.ValueOf(to.DecodeList())
		if name := nameOfField(v, inner); name != "" { // by which its entries are found, and named to people
			at := d.pos[path]
			path = join(path, name)
			d.pos[path] = at
		}
		v = inner.Elem()
	}
	if !ok || v.Kind() != reflect.Slice {
		d.report(d.pos[path], path, Bad(allowed(v.Type()), "is %s", nameOf(n)))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, entry := range list.Values {
		d.value(entry, v.Index(i), fmt.Sprintf("%s[%d]", path, i), d.pos[path])
	}
}

// nameOfField is the name in files of the field of v that a pointer leads to; "": it
// has none.
func nameOfField(v, pointer reflect.Value) string {
	if v.Kind() != reflect.Struct {
		return ""
	}
	for _, f := range fieldsOf(v.Type()) {
		if at := v.FieldByIndex(f.index).Addr(); at.Type() == pointer.Type() && at.UnsafePointer() == pointer.UnsafePointer() {
			return f.name
		}
	}
	return ""
}

func nameOf(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	}
	return "a " + strings.ToLower(n.Type().String())
}

// mapping decodes into a struct with json tags or a map from strings.
func (d *Document) mapping(m ast.MapNode, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	if v.Kind() != reflect.Map && len(fields) == 0 {
		d.report(d.pos[path], path, Bad(allowed(v.Type()), "is a mapping"))
		return
	}
	if v.Kind() == reflect.Map {
		v.Set(reflect.MakeMap(v.Type()))
	}
	seen := map[string]Position{}
	for it := m.MapRange(); it.Next(); {
		at := d.position(it.Key().GetToken())
		s, ok := scalarOf(it.Key())
		if !ok || s.Kind != KindString {
			d.report(at, path, Bad("names as keys; a name that looks like something else in quotes", "the key %s is no string", it.Key().String()))
			continue
		}
		name, full := s.Text, join(path, s.Text)
		if first, twice := seen[name]; twice {
			d.report(at, full, Bad("each field once", "is set twice, first in line %d", first.Line))
			continue
		}
		seen[name] = at
		if v.Kind() == reflect.Map {
			entry := reflect.New(v.Type().Elem()).Elem()
			d.value(it.Value(), entry, full, at)
			v.SetMapIndex(reflect.ValueOf(name), entry)
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.report(at, full, d.unknown(name, path, fields))
			continue
		}
		d.value(it.Value(), v.FieldByIndex(fields[i].index), full, at)
	}
}

// unknown says that there is no such field, and which one was probably meant.
func (d *Document) unknown(name, path string, fields []field) error {
	where := ""
	if path != "" {
		where = " in " + path
	}
	var known []string
	for _, f := range fields {
		known = append(known, f.name)
	}
	guess := Suggest(name, known)
	for _, f := range fields {
		if guess != "" {
			break
		}
		if slices.Contains(f.also, flatten(name)) {
			guess = f.name
		}
		for _, deep := range f.fields {
			if flatten(deep.name) == flatten(name) {
				guess = join(f.name, deep.name)
			}
		}
	}
	if guess != "" {
		return Bad(names(fields), "unknown field%s; did you mean %s?", where, join(path, guess))
	}
	return Bad(names(fields), "unknown field%s", where)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// field is one field of a struct, as a file names it.
type field struct {
	name   string
	index  []int
	also   []string
	alone  bool    // a plain value stands for this field
	fields []field // of the struct it holds
}

var known sync.Map // reflect.Type to []field

// fieldsOf gives the fields of a struct that have a json tag, and those of structs
// that it embeds; none for other types.
func fieldsOf(t reflect.Type) []field {
	if t.Kind() != reflect.Struct {
		return nil
	}
	if f, ok := known.Load(t); ok {
		return f.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append(slices.Clone(f.Index), inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		var also []string
		if words := f.Tag.Get("also"); words != "" {
			also = strings.Split(words, ",")
		}
		fields = append(fields, field{
			name: name, index: f.Index, also: also, alone: f.Tag.Get("alone") == "true", fields: fieldsOf(f.Type),
		})
	}
	known.Store(t, fields)
	return fields
}

func names(fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}
