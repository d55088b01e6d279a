package sites

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

func TestIgnoredSelf(t *testing.T) {
	asked := 0
	own := func() ([]net.Addr, error) {
		asked++
		return []net.Addr{
			&net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)},
			&net.IPNet{IP: net.IPv4(198, 51, 100, 1), Mask: net.CIDRMask(24, 32)},
			&net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)},
		}, nil
	}
	for texts, want := range map[string]string{
		"": "", "192.0.2.0/24": "", "198.51.100.2": "", "2001:db8:1::/48": "",
		"192.0.2.7 198.51.100.0/24": "ignore.sources[1]: 198.51.100.0/24 has an address of the node itself, 198.51.100.1",
		"2001:db8::/64":             "ignore.sources[0]: 2001:db8::/64 has an address of the node itself, 2001:db8::1",
	} {
		var i spec.Ignored
		for _, text := range strings.Fields(texts) {
			s, err := spec.ParseSource(text)
			if err != nil {
				t.Fatal(err)
			}
			i.Sources = append(i.Sources, s)
		}
		if got := IgnoredSelf(i, own); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", texts, got, want)
		}
	}
	if asked != 5 {
		t.Errorf("asked for addresses %d times: a site that ignores nobody need not", asked)
	}
	all := spec.Ignored{Sources: []spec.Source{{}}}
	if got := IgnoredSelf(all, func() ([]net.Addr, error) { return nil, errors.New("none") }); got != "" {
		t.Errorf("without addresses: %q", got)
	}
}
