package strictyaml

import (
	"encoding"
	"errors"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Kind is what YAML takes a scalar for.
type Kind int

// The kinds of scalars. KindOther is .inf, .nan and integers in other bases
// than ten.
const (
	KindString Kind = iota
	KindInt
	KindFloat
	KindBool
	KindOther
)

// String gives the kind as it stands in an error.
func (k Kind) String() string {
	return [...]string{"a string", "a number", "a number", "a boolean", "a number of a form not read here"}[k]
}

// Scalar is a scalar as it was written.
type Scalar struct {
	Kind Kind
	// Text is the string, or the number as it stands in the file.
	Text string
}

// ScalarDecoder is a type that reads itself from a scalar and needs to know of
// which kind the scalar is; all others implement encoding.TextUnmarshaler. Of
// either an error of type *Invalid keeps its parts, and the error for an empty
// text says what is allowed. A struct that has fields with json tags besides
// may also be written as a mapping.
type ScalarDecoder interface {
	DecodeScalar(Scalar) error
}

// ListDecoder is a type that may be written as a list: DecodeList gives a
// pointer to the slice that takes it.
type ListDecoder interface {
	DecodeList() any
}

// integer matches what strconv and every YAML reader agree about: no other
// base, no leading zero, no underscores.
var integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// Int reads a whole number.
func (s Scalar) Int(bits int) (int64, error) {
	if s.Kind != KindInt || !integer.MatchString(s.Text) {
		return 0, s.mismatch("a whole number", KindInt)
	}
	n, err := strconv.ParseInt(s.Text, 10, bits)
	if err != nil {
		return 0, Bad("a whole number", "%s is out of range", s.Text)
	}
	return n, nil
}

// Float reads a decimal number.
func (s Scalar) Float() (float64, error) {
	if s.Kind == KindInt && integer.MatchString(s.Text) || s.Kind == KindFloat {
		f, err := strconv.ParseFloat(s.Text, 64)
		if err == nil {
			return f, nil
		}
	}
	return 0, s.mismatch("a number", KindFloat)
}

// String reads a string. Numbers are not taken for strings, as 1.10 would
// become 1.1 in other readers.
func (s Scalar) String() (string, error) {
	if s.Kind != KindString {
		return "", s.mismatch("a string", KindString)
	}
	return s.Text, nil
}

// mismatch says that s is of another kind than wanted, and what to write where
// that is plain.
func (s Scalar) mismatch(allowed string, wanted Kind) *Invalid {
	switch {
	case wanted == KindString:
		return Bad(allowed, "%s is %s; for the string write %q", s.Text, s.Kind, s.Text)
	case wanted == KindBool && slices.Contains([]string{"yes", "on", "y"}, strings.ToLower(s.Text)):
		return Bad(allowed, "%q is a string; write true", s.Text)
	case wanted == KindBool && slices.Contains([]string{"no", "off", "n"}, strings.ToLower(s.Text)):
		return Bad(allowed, "%q is a string; write false", s.Text)
	case s.Kind == KindString:
		return Bad(allowed, "%q is a string", s.Text)
	case wanted == KindInt && s.Kind == KindFloat:
		return Bad(allowed, "%s is a number with a fraction", s.Text)
	}
	return Bad(allowed, "%s is %s", s.Text, s.Kind)
}

// scalarOf gives the scalar of a node; ok is false for mappings, lists and
// nothing.
func scalarOf(n ast.Node) (s Scalar, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		if n.Token.Type == token.StringType && integer.MatchString(n.Value) {
			return Scalar{KindInt, n.Value}, true // beyond 64 bits the parser takes it for a string
		}
		return Scalar{KindString, n.Value}, true
	case *ast.LiteralNode:
		return Scalar{KindString, n.Value.Value}, true
	case *ast.BoolNode:
		return Scalar{KindBool, n.Token.Value}, true
	case *ast.FloatNode:
		return Scalar{KindFloat, n.Token.Value}, true
	case *ast.IntegerNode:
		if n.Token.Type == token.IntegerType {
			return Scalar{KindInt, n.Token.Value}, true
		}
		return Scalar{KindOther, n.Token.Value}, true
	case *ast.InfinityNode:
		return Scalar{KindOther, n.Token.Value}, true
	case *ast.NanNode:
		return Scalar{KindOther, n.Token.Value}, true
	}
	return Scalar{}, false
}

// decodeScalar sets v, which is addressable, from s.
func decodeScalar(s Scalar, v reflect.Value) error {
	switch to := v.Addr().Interface().(type) {
	case ScalarDecoder:
		return to.DecodeScalar(s)
	case encoding.TextUnmarshaler:
		err := to.UnmarshalText([]byte(s.Text))
		var bad *Invalid
		if errors.As(err, &bad) {
			return bad
		}
		if err != nil || s.Text == "" {
			return Bad(allowed(v.Type()), "%q is not valid", s.Text)
		}
		return nil
	}
	for _, f := range fieldsOf(v.Type()) {
		if f.alone {
			return decodeScalar(s, v.FieldByIndex(f.index))
		}
	}
	switch v.Kind() {
	case reflect.String:
		text, err := s.String()
		v.SetString(text)
		return err
	case reflect.Bool:
		if s.Kind != KindBool {
			return s.mismatch("true or false", KindBool)
		}
		v.SetBool(s.Text == "true" || s.Text == "True" || s.Text == "TRUE")
		return nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := s.Int(v.Type().Bits())
		v.SetInt(n)
		return err
	case reflect.Float64:
		f, err := s.Float()
		v.SetFloat(f)
		return err
	case reflect.Slice:
		return Bad(allowed(v.Type()), "is a single value; for a list of one write [%s]", s.Text)
	default:
		return Bad(allowed(v.Type()), "%q is a single value", s.Text)
	}
}

// allowed says what may stand for a type.
func allowed(t reflect.Type) string {
	var err error
	switch to := reflect.New(t).Interface().(type) {
	case *netip.Addr:
		return "an IPv4 or IPv6 address like 10.77.0.5"
	case *netip.Prefix:
		return "an IPv4 or IPv6 prefix like 10.77.0.0/16"
	case ScalarDecoder:
		err = to.DecodeScalar(Scalar{})
	case encoding.TextUnmarshaler:
		err = to.UnmarshalText(nil)
	}
	fields := fieldsOf(t)
	scalar := ""
	var bad *Invalid
	if errors.As(err, &bad) {
		scalar = bad.Allowed
	}
	for _, f := range fields {
		if f.alone {
			scalar = allowed(t.FieldByIndex(f.index).Type)
		}
	}
	switch {
	case scalar != "" && len(fields) > 0:
		return scalar + ", or a mapping of " + names(fields)
	case scalar != "":
		return scalar
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list; each entry: " + allowed(t.Elem())
	case reflect.Map:
		return "a mapping of names to values; each value: " + allowed(t.Elem())
	case reflect.Struct:
		return "a mapping of " + names(fields)
	default:
		return "a whole number"
	}
}
