package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name   string
		events string
		want   result
		failed bool
	}{
		{"nothing ran", ``, result{}, true},
		{"passed", `{"Action":"pass","Package":"p","Test":"A"}`, result{ran: 1}, false},
		{
			"a leak", `{"Action":"pass","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}{"Action":"pass","Package":"q"}`,
			result{ran: 1, packages: []string{"p"}}, true,
		},
		{
			"a failure forgiven", `{"Action":"fail","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}
			{"Action":"pass","Package":"p","Test":"A"}{"Action":"pass","Package":"p"}`,
			result{ran: 2}, false,
		},
		{
			"a leak, and a failure forgiven", `{"Action":"fail","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}{"Action":"fail","Package":"q"}
			{"Action":"pass","Package":"p","Test":"A"}{"Action":"pass","Package":"p"}{"Action":"pass","Package":"q"}`,
			result{ran: 2, packages: []string{"q"}}, true,
		},
		{
			"a leak in the second run", `{"Action":"fail","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}
			{"Action":"pass","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}`,
			result{ran: 2, packages: []string{"p"}}, true,
		},
		{
			"justified", `{"Action":"pass","Package":"p","Test":"A"}
			{"Action":"output","Package":"p","Test":"B","Output":"    x.go:1: ` + testutil.SkipMarker + ` tcx comes with Linux 6.6\n"}
			{"Action":"skip","Package":"p","Test":"B"}`,
			result{ran: 1, justified: []string{"p B: tcx comes with Linux 6.6"}}, false,
		},
		{
			"unjustified", `{"Action":"pass","Package":"p","Test":"A"}
			{"Action":"output","Package":"p","Test":"B","Output":"no luck\n"}
			{"Action":"skip","Package":"p","Test":"B"}`,
			result{ran: 1, unjustified: []string{"p B:\nno luck"}}, true,
		},
		{
			"on the rig", `{"Action":"pass","Package":"sid:p","Test":"A"}
			{"Action":"output","Package":"sid:p","Test":"B","Output":"` + testutil.SkipMarker + ` tcx comes with Linux 6.6\n"}
			{"Action":"skip","Package":"sid:p","Test":"B"}
			{"Action":"output","Package":"sid:p","Test":"C","Output":"` + testutil.SkipMarker + ` CRIU: this machine lacks it\n"}
			{"Action":"skip","Package":"sid:p","Test":"C"}`,
			result{ran: 1, justified: []string{"sid:p B: tcx comes with Linux 6.6"}, unjustified: []string{"sid:p C: CRIU: this machine lacks it"}}, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(strings.NewReader(tt.events))
			if err != nil {
				t.Fatal(err)
			}
			if got.ran != tt.want.ran || strings.Join(got.justified, ";") != strings.Join(tt.want.justified, ";") ||
				strings.Join(got.unjustified, ";") != strings.Join(tt.want.unjustified, ";") || !slices.Equal(got.packages, tt.want.packages) {
				t.Errorf("read gave %+v, want %+v", got, tt.want)
			}
			if failed := got.print(io.Discard, "x"); failed != tt.failed {
				t.Errorf("failed = %v, want %v", failed, tt.failed)
			}
		})
	}
	if _, err := read(strings.NewReader("{broken")); err == nil {
		t.Error("a broken file was accepted")
	}
}

func TestRanNowhere(t *testing.T) {
	var runs []result
	for _, events := range []string{
		`{"Action":"pass","Package":"p","Test":"A"}{"Action":"skip","Package":"p","Test":"B"}{"Action":"skip","Package":"p","Test":"C/x:1"}
		{"Action":"pass","Package":"p","Test":"C"}{"Action":"skip","Package":"p","Test":"D"}{"Action":"skip","Package":"q","Test":"B"}`,
		`{"Action":"pass","Package":"sid:p","Test":"B"}{"Action":"pass","Package":"sid:p","Test":"C"}{"Action":"skip","Package":"sid:p","Test":"D"}`,
	} {
		r, err := read(strings.NewReader(events))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	if got, want := ranNowhere(runs), []string{"p C/x:1", "p D", "q B"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
