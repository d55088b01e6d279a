package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Format writes a site as a person would: without what is a default anyway, one
// field a line, lists and inner mappings in brackets.
func (s *Site) Format() ([]byte, error) {
	fields, err := s.fields()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, f := range fields {
		out.WriteString(f.block(0))
	}
	if err := same(out.Bytes(), s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// same says whether a text is of that site and nothing else.
func same(text []byte, s *Site) error {
	back, err := Parse(s.Name, bytes.NewReader(text))
	if err == nil && (len(back) != 1 || back[0].Digest() != s.Digest()) {
		err = fmt.Errorf("written as YAML the spec of site %s means something else, which is a bug of fcnode", s.Name)
	}
	return err
}

// value is one of JSON, with the fields of objects in their order.
type value struct {
	name   string
	scalar string // as JSON; empty: not a scalar
	list   bool
	parts  []value
}

// fields are those of the site that are not what they are by default.
func (s *Site) fields() ([]value, error) {
	least := defaults()
	least.Name, least.Tiers, least.Scale.Min = s.Name, s.Tiers, s.Scale.Min
	least.complete()
	plain := defaults()
	least.Tiers, least.Scale.Min = plain.Tiers, plain.Scale.Min
	least.Name = "" // which is written, as are the other two that have to be there
	all, err := valueOf(s)
	if err != nil {
		return nil, err
	}
	given, err := valueOf(&least)
	if err != nil {
		return nil, err
	}
	return all.without(given).parts, nil
}

func valueOf(s *Site) (value, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return value{}, err
	}
	dec := json.NewDecoder(&buf)
	dec.UseNumber()
	return readValue(dec)
}

func readValue(dec *json.Decoder) (v value, err error) {
	tk, err := dec.Token()
	if err != nil {
		return v, err
	}
	open, nested := tk.(json.Delim)
	if !nested {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		err := enc.Encode(tk)
		v.scalar = strings.TrimSpace(buf.String())
		return v, err
	}
	v.list = open == '['
	for dec.More() {
		var name string
		if !v.list {
			key, err := dec.Token()
			if err != nil {
				return v, err
			}
			name, _ = key.(string) // as JSON's keys are
		}
		part, err := readValue(dec)
		if err != nil {
			return v, err
		}
		part.name = name
		v.parts = append(v.parts, part)
	}
	_, err = dec.Token()
	return v, err
}

func (v value) equal(w value) bool {
	return v.name == w.name && v.scalar == w.scalar && v.list == w.list && slices.EqualFunc(v.parts, w.parts, value.equal)
}

func (v value) part(name string) (value, bool) {
	i := slices.IndexFunc(v.parts, func(p value) bool { return p.name == name })
	if i < 0 {
		return value{}, false
	}
	return v.parts[i], true
}

func (v value) mapping() bool { return v.scalar == "" && !v.list }

// without leaves out the fields that are the same in given.
func (v value) without(given value) value {
	out := v
	out.parts = nil
	for _, p := range v.parts {
		other, there := given.part(p.name)
		switch {
		case there && p.equal(other):
			continue
		case there && p.mapping() && other.mapping():
			p = p.without(other)
		}
		out.parts = append(out.parts, p)
	}
	return out
}

// block writes a field in lines of its own.
func (v value) block(indent int) string {
	pad := strings.Repeat(" ", indent)
	head := pad + key(v.name) + ":"
	deep := slices.ContainsFunc(v.parts, func(p value) bool { return p.scalar == "" })
	switch {
	case v.list && deep:
		out := head + "\n"
		for _, p := range v.parts {
			out += p.entry(indent + 2)
		}
		return out
	case v.mapping() && len(v.parts) > 0 && (v.name == "env" || v.name == "extraHosts"): // they are many, and long
		out := head + "\n"
		for _, p := range v.parts {
			out += p.block(indent + 2)
		}
		return out
	}
	return head + " " + v.flow() + "\n"
}

// entry writes an entry of a list in a line of its own.
func (v value) entry(indent int) string {
	return strings.Repeat(" ", indent) + "- " + v.flow() + "\n"
}

// flow writes a value in one line.
func (v value) flow() string {
	if v.scalar != "" {
		return plain(v.scalar)
	}
	parts := make([]string, len(v.parts))
	for i, p := range v.parts {
		parts[i] = p.flow()
		if !v.list {
			parts[i] = key(p.name) + ": " + parts[i]
		}
	}
	if v.list {
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

var (
	// plainWord needs no quotes: no number, no indicator, nothing that ends it.
	plainWord = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./@+=-]*(:[A-Za-z0-9_./@+=-]+)*$`)
	// plainSize begins like a number and is none.
	plainSize = regexp.MustCompile(`^[0-9]+([.-][0-9]+)?([KMGT]i?B|ms|s|m|h|%|/tcp|/udp)([0-9]+(ms|s|m)){0,2}$|^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?$`)
	// spoken are words that YAML, or an older version of it, reads as something else.
	spoken = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null|nan|inf)$`)
)

func key(name string) string {
	quoted, _ := json.Marshal(name) // a string
	return plain(string(quoted))
}

// plain writes a scalar of JSON without quotes where YAML needs none.
func plain(scalar string) string {
	var text string
	if scalar[0] != '"' || json.Unmarshal([]byte(scalar), &text) != nil {
		return scalar
	}
	if plainWord.MatchString(text) && !spoken.MatchString(text) || plainSize.MatchString(text) {
		return text
	}
	return scalar
}
