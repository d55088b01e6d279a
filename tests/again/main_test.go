package main

import (
	"strings"
	"testing"
)

func TestAgain(t *testing.T) {
	const failed = `{"Action":"run","Package":"p","Test":"A"}
		{"Action":"fail","Package":"p","Test":"A"}
		{"Action":"fail","Package":"p"}`
	tests := []struct{ name, events, want, err string }{
		{"one", failed, "^(A)$", ""},
		{"a subtest", `{"Action":"fail","Package":"p","Test":"A/x"}{"Action":"fail","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}`, "^(A)$", ""},
		{"two packages", failed + `{"Action":"fail","Package":"q","Test":"B"}{"Action":"fail","Package":"q"}`, "^(A|B)$", ""},
		{"all passed", `{"Action":"run","Package":"p","Test":"A"}{"Action":"pass","Package":"p","Test":"A"}{"Action":"pass","Package":"p"}`, "", "no test failed"},
		{"nothing ran", ``, "", "no test failed"},
		{"a leak", failed + `{"Action":"fail","Package":"q"}`, "", "q failed, though none of its tests did"},
		{
			"a crash", `{"Action":"run","Package":"p","Test":"A"}
			{"Action":"output","Package":"p","Test":"A","Output":"panic: test timed out after 20m0s\n"}
			{"Action":"fail","Package":"p","Test":"A"}{"Action":"fail","Package":"p"}`, "", "panic: test timed out",
		},
		{
			"somebody else's crash", `{"Action":"output","Package":"p","Test":"A","Output":"    x.go:1: panic: in the log of a daemon\n"}` + failed, "^(A)$", "",
		},
		{"no end", failed + `{"Action":"run","Package":"p","Test":"B"}`, "", "p B began and did not end"},
		{
			"many", failed + `{"Action":"fail","Package":"p","Test":"B"}{"Action":"fail","Package":"p","Test":"C"}{"Action":"fail","Package":"p","Test":"D"}`,
			"", "4 tests failed",
		},
		{"no events", `{broken`, "", "reading go test's events"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := read(strings.NewReader(tt.events))
			got := ""
			if err == nil {
				got, err = r.again()
			}
			if got != tt.want || (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("again: %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
}
