package spec

import (
	"slices"
	"strings"
	"testing"
)

// TestPortRanges: a range stands where a port may, and front ends forward to a port of one only where that is named.
func TestPortRanges(t *testing.T) {
	for text, want := range map[string]struct {
		ports []Port
		count int
		http  int
	}{
		"ports: [21, 5000-5100/udp, 5000-5001]": {
			[]Port{{Port: 21, Proto: "tcp"}, {Port: 5000, Last: 5100, Proto: "udp"}, {Port: 5000, Last: 5001, Proto: "tcp"}}, 104, 21,
		},
		"ports: [75-90]":                {[]Port{{Port: 75, Last: 90, Proto: "tcp"}}, 16, 80},
		"ports: [8000-8010]":            {[]Port{{Port: 8000, Last: 8010, Proto: "tcp"}}, 11, 0},
		"ports: [1-16384/udp]":          {[]Port{{Port: 1, Last: 16384, Proto: "udp"}}, 16384, 0},
		"ports: [65534-65535/udp, 443]": {[]Port{{Port: 65534, Last: 65535, Proto: "udp"}, {Port: 443, Proto: "tcp"}}, 3, 0},
		"ports: [8000-8010]\ndomains: [a.example]\ngateway: {port: 8010}": {[]Port{{Port: 8000, Last: 8010, Proto: "tcp"}}, 11, 8010},
	} {
		sites, err := Parse("s.yaml", strings.NewReader("name: a\nimage: oci:/a\n"+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		s := &sites[0]
		if got := CountPorts(s.Ports); !slices.Equal(s.Ports, want.ports) || got != want.count || s.HTTPPort() != want.http {
			t.Errorf("%s: %v, %d ports, HTTP on %d; want %v, %d, %d", text, s.Ports, got, s.HTTPPort(), want.ports, want.count, want.http)
		}
	}
}
