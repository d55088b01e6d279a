package spec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// ErrAbsent means that a text describes no such site.
var ErrAbsent = errors.New("it describes no such site")

// Rewrite makes the text of a file say that a site is what to is. It changes the
// lines of the fields that differ and no others: comments, order and the other
// sites of the file stay. The name of the site cannot change. name is that of the
// file, for errors.
func Rewrite(name string, src []byte, to *Site) ([]byte, error) {
	if crlf := []byte("\r\n"); bytes.Contains(src, crlf) { // whose lines the parser counts twice
		out, err := Rewrite(name, bytes.ReplaceAll(src, crlf, []byte("\n")), to)
		return bytes.ReplaceAll(out, []byte("\n"), crlf), err
	}
	docs, errs := strictyaml.Parse(name, src)
	if len(errs) > 0 {
		return nil, errs
	}
	for _, doc := range docs {
		from := defaults()
		doc.Decode(&from)
		from.complete()
		if from.Name != to.Name || len(doc.Errs()) > 0 {
			continue
		}
		if from.Digest() == to.Digest() {
			return src, nil
		}
		return rewrite(name, src, doc, &from, to)
	}
	return nil, fmt.Errorf("%s: site %s: %w", name, to.Name, ErrAbsent)
}

func rewrite(name string, src []byte, doc *strictyaml.Document, from, to *Site) ([]byte, error) {
	root, ok := doc.Layout(src)
	if !ok {
		return nil, fmt.Errorf("%s: the spec of site %s is written in brackets, as JSON is, and can be changed by hand only", name, to.Name)
	}
	before, err := valueOf(from)
	if err != nil {
		return nil, err
	}
	after, err := valueOf(to)
	if err != nil {
		return nil, err
	}
	written, err := to.fields()
	if err != nil {
		return nil, err
	}
	var first error
	for _, fine := range []bool{true, false} { // whole fields if that is not what was meant
		e := editor{lines: strings.SplitAfter(string(src), "\n"), fine: fine}
		e.mapping(root, before, after, value{parts: written}, 0)
		out := []byte(strings.Join(e.lines, ""))
		if err := e.check(name, out, src, to); err == nil {
			return out, nil
		} else if first == nil {
			first = err
		}
	}
	return nil, first
}

// check says whether the new text is of the sites that the old one was of, and of
// the one that was to change as it is to be.
func (editor) check(name string, text, old []byte, to *Site) error {
	now, err := Parse(name, bytes.NewReader(text))
	if err != nil {
		return err
	}
	before, _ := Parse(name, bytes.NewReader(old)) // empty where something was wrong that is not any more
	for i := range now {
		want := to.Digest()
		if now[i].Name != to.Name {
			j := slices.IndexFunc(before, func(s Site) bool { return s.Name == now[i].Name })
			if j < 0 {
				continue
			}
			want = before[j].Digest()
		}
		if now[i].Digest() != want {
			return fmt.Errorf("%s: the spec of site %s cannot be changed in place without changing what else it says: change it by hand", name, now[i].Name)
		}
	}
	return nil
}

// editor changes lines of a text. Lines stay where they are until all is done:
// what is put behind one is appended to it.
type editor struct {
	lines []string
	fine  bool // inner fields by themselves
}

// mapping changes the fields of a block mapping that are others after than before;
// written has what is to be said of those.
func (e *editor) mapping(at strictyaml.Part, before, after, written value, indent int) {
	last := at.First // behind which a new field goes
	if len(at.Parts) > 0 {
		indent = at.Parts[0].Indent
	}
	var added string
	flush := func() {
		e.append(last, added)
		added = ""
	}
	fields := slices.Clone(after.parts)
	for _, p := range before.parts {
		if _, stays := after.part(p.name); !stays {
			fields = append(fields, value{name: p.name})
		}
	}
	for _, a := range fields {
		b, was := before.part(a.name)
		w, is := written.part(a.name)
		i := slices.IndexFunc(at.Parts, func(p strictyaml.Part) bool { return p.Name == a.name })
		if i < 0 {
			if is && (!was || !a.equal(b)) {
				added += w.block(indent)
			}
			continue
		}
		flush()
		part := at.Parts[i]
		last = part.Last
		switch {
		case was && a.equal(b):
		case !is:
			e.remove(part)
		default:
			e.field(part, b, a, w)
		}
	}
	flush()
}

// field changes one that is in the text.
func (e *editor) field(at strictyaml.Part, before, after, written value) {
	switch {
	case at.Shape == strictyaml.Scalar1 && after.scalar != "":
		e.scalar(at, plain(after.scalar))
	case e.fine && at.Shape == strictyaml.Mapping && before.mapping() && after.mapping() && len(after.parts) > 0:
		e.mapping(at, before, after, after, at.Indent+2)
	case e.fine && at.Shape == strictyaml.List && before.list && len(before.parts) == len(at.Parts) && len(after.parts) > 0:
		e.list(at, before, after)
	default:
		e.replace(at, written.block(at.Indent))
	}
}

// list changes the entries between those that are the same at both ends.
func (e *editor) list(at strictyaml.Part, before, after value) {
	head := 0
	for head < min(len(before.parts), len(after.parts)) && before.parts[head].equal(after.parts[head]) {
		head++
	}
	tail := 0
	for tail < min(len(before.parts), len(after.parts))-head && before.parts[len(before.parts)-1-tail].equal(after.parts[len(after.parts)-1-tail]) {
		tail++
	}
	indent := at.Parts[0].Indent
	var added strings.Builder
	for _, p := range after.parts[head : len(after.parts)-tail] {
		added.WriteString(p.entry(indent))
	}
	gone := at.Parts[head : len(at.Parts)-tail]
	for _, p := range gone {
		e.remove(p)
	}
	behind := at.First
	switch {
	case len(gone) > 0:
		behind = gone[len(gone)-1].Last
	case head > 0:
		behind = at.Parts[head-1].Last
	}
	e.append(behind, added.String())
}

func (e *editor) scalar(at strictyaml.Part, text string) {
	line := e.lines[at.First-1]
	bom := 0
	if at.First == 1 && strings.HasPrefix(line, "\ufeff") {
		bom = len("\ufeff")
	}
	e.lines[at.First-1] = line[:bom+at.Start] + text + line[bom+at.End:]
}

func (e *editor) remove(at strictyaml.Part) {
	for i := at.First; i <= at.Last; i++ {
		e.lines[i-1] = ""
	}
}

func (e *editor) replace(at strictyaml.Part, text string) {
	e.remove(at)
	e.lines[at.First-1] = text
}

// append puts text behind a line.
func (e *editor) append(line int, text string) {
	if text == "" {
		return
	}
	l := &e.lines[line-1]
	if *l != "" && !strings.HasSuffix(*l, "\n") {
		*l += "\n"
	}
	*l += text
}
