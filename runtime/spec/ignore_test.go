package spec

import (
	"fmt"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	for _, text := range []string{"192.0.2.7", "198.51.100.0/24", "2001:db8::7", "2001:db8::/64"} {
		if s, err := ParseSource(text); err != nil || s.String() != text {
			t.Errorf("%s: read as %s (%v)", text, s, err)
		}
	}
	for text, want := range map[string]string{
		"": "is no address", "monitor.example": "is no address", "192.0.2.7/33": "is no address", "192.0.2": "is no address", "192.0.2.7:80": "is no address",
		"192.0.2.07": "is no address", "192.0.2.0-192.0.2.9": "is no address", "::ffff:192.0.2.7": "did you mean 192.0.2.7?", "::ffff:192.0.2.0/120": "write it as IPv4", "fe80::1%eth0": "has a zone",
	} {
		if s, err := ParseSource(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s (%v), want an error with %q", text, s, err, want)
		}
	}
}

// Each has its file and line.
func TestIgnore(t *testing.T) {
	many := make([]string, maxSources+1)
	for i := range many {
		many[i] = fmt.Sprintf("10.%d.%d.1", i/256, i%256)
	}
	for text, want := range map[string]string{
		"[192.0.2.0/24, '2001:db8::/64', 198.51.100.7]": "",
		"[]": "",
		"{sources: [192.0.2.0/24], answer: http}":           "",
		"{sources: [192.0.2.7], answer: accept}":            "",
		"{answer: http, status: 503}":                       "", // for those that the node ignores
		"[" + strings.Join(many[1:], ", ") + "]":            "",
		"[192.0.2.0/24, 192.0.2.7]":                         "s.yaml:4:24: ignore.sources[1]: 192.0.2.7 overlaps with 192.0.2.0/24 of ignore.sources[0]",
		"[192.0.2.7, 192.0.2.0/24]":                         "ignore.sources[1]: 192.0.2.0/24 overlaps with 192.0.2.7",
		"[192.0.2.7, 192.0.2.7/32]":                         "ignore.sources[1]: 192.0.2.7 stands in the list twice",
		"{sources: [192.0.2.7/24]}":                         "s.yaml:4:20: ignore.sources[0]: 192.0.2.7/24 has bits behind its length; did you mean 192.0.2.0/24?",
		"['::ffff:192.0.2.7']":                              "s.yaml:4:10: ignore.sources[0]: \"::ffff:192.0.2.7\" is an IPv4 address in the form of IPv6; did you mean 192.0.2.7?",
		"[0.0.0.0/0]":                                       "ignore.sources[0]: 0.0.0.0/0 is everybody",
		"['::/0']":                                          "ignore.sources[0]: ::/0 is everybody",
		"[127.0.0.1]":                                       "ignore.sources[0]: 127.0.0.1: no packet for a site comes from there",
		"[224.0.0.0/4]":                                     "no packet for a site comes from there",
		"192.0.2.7":                                         "s.yaml:4:9: ignore:",
		"[" + strings.Join(many, ", ") + "]":                "ignore.sources: has 1025 entries; allowed: up to 1024",
		"{sources: [192.0.2.7], answer: htpt}":              "s.yaml:4:40: ignore.answer: \"htpt\" is none of them; did you mean http?",
		"{sources: [192.0.2.7], answer: accept, status: 1}": "s.yaml:4:56: ignore.status: has no effect; allowed: only beside answer: http",
		"{sources: [192.0.2.7], status: 200}":               "ignore.status: has no effect",
		"{sources: [192.0.2.7], answer: ''}":                "ignore.answer: is empty",
		"{answer: http, status: 0}":                         "ignore.status: is empty",
		"{answer: http, status: 199}":                       "ignore.status: 199 is out of range; allowed: 200 to 599",
		"{cidrs: [192.0.2.7]}":                              "s.yaml:4:10: ignore.cidrs: unknown field in ignore; did you mean ignore.sources?",
	} {
		src := required + "ignore: " + text + "\n"
		_, err := Parse("s.yaml", strings.NewReader(src))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
		if want == "" {
			if err := validate(t, src); err != nil {
				t.Errorf("%.60s: the schema refuses it: %v", text, err)
			}
		}
	}
}

// Who says nothing has the digest of before, however it is said.
func TestIgnoreDigest(t *testing.T) {
	digest := func(more string) string {
		sites, err := Parse("s.yaml", strings.NewReader(required+more))
		if err != nil {
			t.Fatal(err)
		}
		return sites[0].Digest()
	}
	if digest("") != digest("ignore: []\n") {
		t.Error("an empty list is another site")
	}
	if digest("ignore: [192.0.2.7]\n") != digest("ignore: {sources: [192.0.2.7/32]}\n") {
		t.Error("the short form is another site")
	}
	if digest("") == digest("ignore: [192.0.2.7]\n") {
		t.Error("who is ignored is no part of the digest")
	}
}

func TestIgnoredOver(t *testing.T) {
	source := func(text string) Source {
		s, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	node := Ignored{Sources: []Source{source("192.0.2.7")}, Answer: IgnoredHTTP, Status: 503}
	for _, c := range []struct {
		site, node Ignored
		want       string
	}{
		{Ignored{}, Ignored{}, "{[] refuse 204}"},
		{Ignored{}, node, "{[192.0.2.7] http 503}"},
		{Ignored{Sources: []Source{source("2001:db8::/64")}}, node, "{[2001:db8::/64 192.0.2.7] http 503}"},
		{Ignored{Answer: IgnoredHTTP}, node, "{[192.0.2.7] http 204}"},
		{Ignored{Answer: IgnoredRefuse}, node, "{[192.0.2.7] refuse 204}"},
	} {
		if got := fmt.Sprint(c.site.Over(c.node)); got != c.want {
			t.Errorf("%v over %v: %s, want %s", c.site, c.node, got, c.want)
		}
	}
}
