package strictyaml

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/google/go-cmp/cmp"
)

// upper reads itself from a string, or from a mapping.
type upper struct {
	Text string `json:"text"`
}

func (u *upper) DecodeScalar(s Scalar) error {
	if s.Kind != KindString {
		return fmt.Errorf("wanted: %w", fs.ErrInvalid) // any error will do
	}
	u.Text = strings.ToUpper(s.Text)
	return nil
}

// wordList is a word, or a list of inners.
type wordList struct {
	Word string
	List []inner
}

func (w *wordList) DecodeScalar(s Scalar) (err error) {
	w.Word, err = s.String()
	return err
}

func (w *wordList) DecodeList() any {
	w.Word = ""
	return &w.List
}

type inner struct {
	Count int   `json:"count" also:"number,size"`
	Big   int64 `json:"big"`
}

// Embedded has fields that a file names as if they were its owner's.
type Embedded struct {
	Deep string `json:"deep" also:"deeper"`
}

type outer struct {
	Name   string            `json:"name"`
	On     bool              `json:"on"`
	Ratio  float64           `json:"ratio"`
	List   []string          `json:"list,omitempty"`
	Inners []inner           `json:"inners"`
	Inner  inner             `json:"inner"`
	Map    map[string]string `json:"map"`
	Nested map[string]inner  `json:"nested"`
	Addr   netip.Addr        `json:"addr"`
	Upper  upper             `json:"upper"`
	Words  wordList          `json:"words"`
	Embedded
	Hidden string `json:"-"`
	NoTag  string
}

func decode(t *testing.T, src string) (outer, *Document, Errors) {
	t.Helper()
	docs, errs := Parse("f", []byte(src))
	if len(errs) > 0 {
		return outer{}, nil, errs
	}
	if len(docs) != 1 {
		t.Fatalf("%d documents in %q", len(docs), src)
	}
	var o outer
	docs[0].Decode(&o)
	return o, docs[0], docs[0].Errs()
}

func TestDecode(t *testing.T) {
	want := outer{
		Embedded: Embedded{Deep: "d"}, Name: "a: b", On: true, Ratio: 1.5, List: []string{"x", "y"}, Inners: []inner{{Count: 1}, {Big: -2}},
		Map: map[string]string{"k": "v", "a.b": "w"}, Nested: map[string]inner{"n": {Count: 3}},
		Addr: netip.MustParseAddr("::1"), Upper: upper{"UP"},
	}
	for name, src := range map[string]string{
		"block": `
name: "a: b"
on: true
ratio: 1.5
list:
- x
- y
inners:
  - count: 1
  - big: -2
map:
  k: v
  a.b: w
nested:
  n:
    count: 3
addr: "::1"
upper: up
deep: d
`,
		"flow": `{name: 'a: b', on: True, ratio: 1.5, list: [x, y], inners: [{count: 1}, {big: -2}],
  map: {k: v, a.b: w}, nested: {n: {count: 3}}, addr: "::1", upper: {text: UP}, deep: d}`,
		"JSON": `{"name":"a: b","on":true,"ratio":1.5,"list":["x","y"],"inners":[{"count":1},{"big":-2}],` +
			`"map":{"k":"v","a.b":"w"},"nested":{"n":{"count":3}},"addr":"::1","upper":{"text":"UP"},"deep":"d"}`,
	} {
		got, _, errs := decode(t, src)
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDecodeList: a struct that holds a list may be written as one, and errors
// have places in it.
func TestDecodeList(t *testing.T) {
	for src, want := range map[string]wordList{
		"words: a":                        {Word: "a"},
		"words: [{count: 1}, {count: 2}]": {List: []inner{{Count: 1}, {Count: 2}}},
		"words: []":                       {List: []inner{}},
	} {
		got, _, errs := decode(t, src)
		if diff := cmp.Diff(want, got.Words); len(errs) > 0 || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", src, errs, diff)
		}
	}
	for src, want := range map[string]string{
		"words: [{coutn: 1}]": "f:1:10: words[0].coutn: unknown field in words[0]; did you mean words[0].count?",
		"words: {count: 1}":   "f:1:8: words: is a mapping",
	} {
		if _, _, errs := decode(t, src); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) {
			t.Errorf("%s: %v, want %s", src, errs, want)
		}
	}
}

// TestPlainScalars: a colon with no space after it is part of a scalar, wherever
// that stands (YAML 1.2.2, 7.3.3).
func TestPlainScalars(t *testing.T) {
	want := []string{"10.1.0.5:3306/tcp", "site:db", "http://a:80/?b=c", "::1"}
	for _, src := range []string{
		"list: [10.1.0.5:3306/tcp, site:db, http://a:80/?b=c, ::1]",
		"{list: [10.1.0.5:3306/tcp, site:db, http://a:80/?b=c, ::1], name: a}",
		"list: [10.1.0.5:3306/tcp,site:db,http://a:80/?b=c,::1] # a:b",
		"list:\n- 10.1.0.5:3306/tcp\n- site:db\n- http://a:80/?b=c\n- ::1",
		"list: [\n  10.1.0.5:3306/tcp,\n  \"site:db\",\n  'http://a:80/?b=c', # a:b\n  ::1,\n]",
	} {
		got, _, errs := decode(t, src)
		if diff := cmp.Diff(want, got.List); len(errs) > 0 || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", src, errs, diff)
		}
	}
	got, _, errs := decode(t, "inners: [{count: 1}, {count: 2, big: 3}]\nmap: {a: b:c, d: e}")
	if diff := cmp.Diff(map[string]string{"a": "b:c", "d": "e"}, got.Map); len(errs) > 0 || diff != "" || len(got.Inners) != 2 {
		t.Errorf("%v %v (-want +got):\n%s", got, errs, diff)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{"Hidden: a", "f:1:1: Hidden: unknown field; allowed: name, on, ratio, list, inners, inner, map, nested, addr, upper, words, deep"},
		{"NoTag: a", "f:1:1: NoTag: unknown field; allowed"},
		{"count: 1", "f:1:1: count: unknown field; did you mean inner.count?"},
		{"inner: {Size: 1}", "f:1:9: inner.Size: unknown field in inner; did you mean inner.count?; allowed: count, big"},
		{"\n\ninners:\n  - count: 1\n    coutn: 2", "f:5:5: inners[0].coutn: unknown field in inners[0]; did you mean inners[0].count?"},
		{"nested: {n: {x: 1}}", "f:1:14: nested.n.x: unknown field in nested.n; allowed"},
		{"inner: [1]", "f:1:8: inner: is a list; allowed: a mapping of count, big"},
		{"list: {a: b}", "f:1:7: list: is a mapping; allowed: a list; each entry: a string"},
		{"map: [a]", "f:1:6: map: is a list; allowed: a mapping of names to values; each value: a string"},
		{"map: a", `f:1:6: map: "a" is a single value; allowed: a mapping of names to values`},
		{"map: {k: v, k: w}", "f:1:13: map.k: is set twice, first in line 1; allowed: each field once"},
		{"map: {k: [v]}", "f:1:10: map.k: is a list; allowed: a string"},
		{"map: {1.5: b}", "f:1:7: map: the key 1.5 is no string"},
		{"addr: 10", `f:1:7: addr: "10" is not valid; allowed: an IPv4 or IPv6 address like 10.77.0.5`},
		{"addr: x", `f:1:7: addr: "x" is not valid; allowed: an IPv4 or IPv6 address like 10.77.0.5`},
		{"upper: 1", "f:1:8: upper: wanted: invalid argument"},
		{"upper: [a]", "f:1:8: upper: is a list; allowed: a mapping of text"},
		{"inner: {count: 99999999999999999999}", "f:1:16: inner.count: 99999999999999999999 is out of range; allowed: a whole number"},
		{"inner: {count: 0x10}", "f:1:16: inner.count: 0x10 is a number of a form not read here"},
		{"inner: {count: 1_000}", "f:1:16: inner.count: 1_000 is a number"},
		{"ratio: 1.5.6", `f:1:8: ratio: "1.5.6" is a string; allowed: a number`},
		{"ratio: .inf", "f:1:8: ratio: .inf is a number of a form not read here"},
		{"on: Yes", `f:1:5: on: "Yes" is a string; write true; allowed: true or false`},
		{"on: 0", "f:1:5: on: 0 is a number; allowed: true or false"},
		{"list: [a, [b]]", "f:1:11: list[1]: is a list; allowed: a string"},
		{"name:\n  a: b", "f:2:3: name: is a mapping; allowed: a string"},
		{"ä: 1", "f:1:1: ä: unknown field"},
		{"map: {ä: 1}", `f:1:10: map.ä: 1 is a number; for the string write "1"`}, // columns are characters
		{"- a", "f:1:1: is a list; allowed: a mapping of name"},
		{"a", `f:1:1: "a" is a single value; allowed: a mapping of name`},
	} {
		_, _, errs := decode(t, test.src)
		if len(errs) != 1 || !strings.HasPrefix(errs.Error(), test.want) {
			t.Errorf("%q:\ngot  %v\nwant %s", test.src, errs, test.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{"a: &x 1", "f:1:4: anchors (&name) are not read here; allowed: plain"},
		{"a: [1\n---\nb: ]", "f:1:4: is not readable as YAML: "},
		{"a: 'x", "f:1:4: is not readable as YAML: "},
		{"a: @x", "f:1:4: is not readable as YAML: "},
		{"a: \"\\q\"", "f:1:6: is not readable as YAML: "},
		{"map: {[a]: b}", "f:1:10: is not readable as YAML: "},
		{"%YAML 1.1\n---\na: b", "f:1:1: directives (%) are not read here"},
		{"a: b\n---\nc: \xff", "f:3:4: is not UTF-8 text"},
		{"a: ä\x01", "f:1:5: has a control character"},
		{"a: b\rc: d", "f:1:5: has a carriage return inside of a line"},
		{"a: b\n--- c", "f:2:1: something follows the document mark on its line"},
		{strings.Repeat("[", 100), "f:1:33: is nested too deeply; allowed: 32 levels"},
		{strings.Repeat("- ", 100), "f:1:65: is nested too deeply"},
		{"a: " + strings.Repeat("x", MaxDocument), "f:1:1: is a document of 1048579 bytes; allowed: up to 1048576 bytes"},
	} {
		docs, errs := Parse("f", []byte(test.src))
		if len(errs) == 0 || !strings.HasPrefix(errs.Error(), test.want) {
			t.Errorf("%.40q: %d documents\ngot  %v\nwant %s", test.src, len(docs), errs, test.want)
		}
	}
}

// TestDeepNesting holds that no input ends the process by a stack without
// bounds, which no recover can catch, or takes ages.
func TestDeepNesting(t *testing.T) {
	for _, unit := range []string{"[", "{", "{a: ", "- ", "- [", "? ", "!a ", "&a ", "a: ", "[\n", "- \n", "'", "\"", ">\n", "|", "#", "[a: "} {
		src := strings.Repeat(unit, MaxDocument/len(unit)/16)
		docs, errs := Parse("f", []byte(src))
		for _, d := range docs {
			var o outer
			d.Decode(&o)
			errs = append(errs, d.Errs()...)
		}
		if len(errs) == 0 && unit != "#" {
			t.Errorf("%q repeated is let through", unit)
		}
	}
	var deep strings.Builder // by indentation the depth grows with the root of the size
	for i := range 300 {
		deep.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	if _, _, errs := decode(t, deep.String()); len(errs) == 0 {
		t.Error("deep indentation is let through")
	}
}

// TestFirstLost holds the guard against a parser that drops what it cannot
// place: the trees here lack what the text has.
func TestFirstLost(t *testing.T) {
	full := lexer.Tokenize("a: b\nc: [d, 5]\n")
	file, err := parser.Parse(lexer.Tokenize("a: b\nc: [d, 5]\n"), 0)
	if err != nil {
		t.Fatal(err)
	}
	body := file.Docs[0].Body
	if lost := firstLost(full, []ast.Node{body}); lost != nil {
		t.Errorf("%q is lost, though the tree is whole", lost.Value)
	}
	part, err := parser.Parse(lexer.Tokenize("a: b\n"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if lost := firstLost(full, []ast.Node{part.Docs[0].Body}); lost == nil || lost.Value != "c" {
		t.Errorf("lost = %v, want c", lost)
	}
	if lost := firstLost(full, nil); lost == nil || lost.Value != "a" {
		t.Errorf("lost = %v, want a", lost)
	}
}

func TestPositionAndReject(t *testing.T) {
	_, d, errs := decode(t, "# c\nname: a\ninners:\n  - count: 1\n    big: x\nmap:\n  a.b: v\n")
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	for path, want := range map[string]Position{
		"":                {2, 1},
		"name":            {2, 7},
		"ratio":           {2, 1}, // not there: the document
		"inners":          {4, 3},
		"inners[0]":       {4, 5},
		"inners[0].count": {4, 12},
		"inners[0].gone":  {4, 5},
		"inners[1].count": {4, 3},
		"map.a.b":         {7, 8},
		"map.c":           {7, 3},
	} {
		if got := d.Position(path); got != want {
			t.Errorf("Position(%q) = %v, want %v", path, got, want)
		}
	}
	if !d.Has("name") || d.Has("ratio") || !d.Has("inners[0].count") || d.Has("inners[1]") {
		t.Error("Has is wrong")
	}
	for _, path := range []string{"inners[0].big", "inners[0]", "inners"} {
		d.Reject(path, errors.New("follows from the bad field"))
	}
	if got := d.Errs(); len(got) != 1 {
		t.Errorf("errors that follow are reported: %v", got)
	}
	d.Reject("inners[0].bigger", errors.New("another field"))
	d.Reject("name", Bad("b", "is %s", "a"))
	want := "f:2:7: name: is a; allowed: b\nf:4:5: inners[0].bigger: another field\nf:5:10: inners[0].big: \"x\" is a string; allowed: a whole number"
	if diff := cmp.Diff(want, d.Errs().Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	if Errors(nil).Err() != nil {
		t.Error("no errors are an error")
	}
	for want, e := range map[string]*Error{
		"m":                         {Msg: "m"},
		"f: m":                      {File: "f", Msg: "m"},
		"f:3: m":                    {File: "f", Line: 3, Msg: "m"},
		"f:3:4: a.b: m; allowed: x": {File: "f", Line: 3, Column: 4, Field: "a.b", Msg: "m", Allowed: "x"},
		"a.b: m":                    {Field: "a.b", Msg: "m"},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
	wrapped := fmt.Errorf("apply: %w", Errors{{Msg: "one"}, {Msg: "two"}}.Err())
	var one *Error
	if !errors.As(wrapped, &one) || one.Msg != "one" {
		t.Error("errors.As does not find the first *Error")
	}
}

func TestSuggest(t *testing.T) {
	fields := []string{"name", "image", "env", "idle", "limits", "readOnlyRoot", "volumes", "min", "max"}
	for word, want := range map[string]string{
		"naem": "name", "Name": "name", "imgae": "image", "limit": "limits", "read_only_root": "readOnlyRoot", "volume": "volumes",
		"idel": "idle", "mim": "min", "envs": "env",
		"": "", "x": "", "zz": "", "lifetime": "", "objective": "", "command": "", "an": "", strings.Repeat("a", 1000): "",
	} {
		if got := Suggest(word, fields); got != want {
			t.Errorf("Suggest(%.20q) = %q, want %q", word, got, want)
		}
	}
}
