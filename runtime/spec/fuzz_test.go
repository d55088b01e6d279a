package spec

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// FuzzParse holds for any input: no panic; errors that say where and what; and a site that is let through is valid and the same
// through JSON.
func FuzzParse(f *testing.F) {
	f.Add(required)
	f.Add(everything)
	for _, bad := range badSpecs {
		if len(bad.fragment) < 1000 {
			f.Add(source(bad.fragment))
		}
	}
	f.Fuzz(func(t *testing.T, src string) {
		sites, err := Parse("f", strings.NewReader(src))
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("Parse = %v, want Errors", err)
			}
			for _, e := range all {
				if e.File != "f" || e.Line < 1 || e.Column < 1 || e.Msg == "" {
					t.Errorf("an error without a place: %+v", e)
				}
				if e.Line > strings.Count(src, "\n")+1 {
					t.Errorf("an error beyond the end: %+v", e)
				}
			}
			return
		}
		for _, s := range sites {
			if err := s.Validate(); err != nil {
				t.Errorf("Parse let through what Validate refuses: %v", err)
			}
			data, err := json.Marshal(&s)
			if err != nil {
				t.Fatal(err)
			}
			back, err := FromJSON(data)
			if err != nil || !reflect.DeepEqual(s, back) {
				t.Errorf("through JSON: %+v, %v, want %+v", back, err, s)
			}
			again, err := Parse("j", strings.NewReader(string(data)))
			if err != nil || len(again) != 1 || again[0].Digest() != s.Digest() {
				t.Errorf("%s read as a spec: %+v, %v, want %+v", data, again, err, s)
			}
		}
	})
}
