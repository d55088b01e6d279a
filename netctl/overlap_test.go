package netctl

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestFindOverlap(t *testing.T) {
	route := func(p, dev string, onLink bool) inUse {
		return inUse{prefix: netip.MustParsePrefix(p), what: "route", device: dev, onLink: onLink}
	}
	address := func(p, dev string) inUse {
		return inUse{prefix: netip.MustParsePrefix(p), what: "address", device: dev}
	}
	for name, tc := range map[string]struct {
		prefix string
		have   inUse
		clash  bool
	}{
		"nothing near":                     {"10.77.0.0/16", route("10.78.0.0/16", "eth0", true), false},
		"the same route":                   {"10.77.0.0/16", route("10.77.0.0/16", "docker0", true), true},
		"the same by a router":             {"10.77.0.0/16", route("10.77.0.0/16", "eth0", false), true},
		"a narrower one by a router":       {"10.77.0.0/16", route("10.77.9.0/24", "eth0", false), true},
		"a host route at the end":          {"10.77.0.0/16", route("10.77.255.255/32", "eth0", false), true},
		"a wider one by a router":          {"10.77.0.0/16", route("10.0.0.0/8", "eth0", false), false},
		"a wider one we are connected to":  {"10.77.0.0/16", route("10.0.0.0/8", "eth0", true), true},
		"the default route":                {"10.77.0.0/16", route("0.0.0.0/0", "eth0", false), false},
		"the default route without router": {"10.77.0.0/16", route("0.0.0.0/0", "ppp0", true), false},
		"an address inside":                {"10.77.0.0/16", address("10.77.0.1/32", "eth0"), true},
		"an address outside":               {"10.77.0.0/16", address("10.76.255.255/32", "eth0"), false},
		"IPv6: the same route":             {"fd77:fc::/64", route("fd77:fc::/64", "eth0", true), true},
		"IPv6: a wider one, connected":     {"fd77:fc::/64", route("fd77::/16", "eth0", true), true},
		"IPv6: next to it":                 {"fd77:fc::/64", route("fd77:fc:0:1::/64", "eth0", true), false},
		"IPv6: an address inside":          {"fd77:fc::/64", address("fd77:fc::1/128", "lo"), true},
		"the other family":                 {"fd77:fc::/64", route("10.0.0.0/8", "eth0", true), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := findOverlap(prefixes(tc.prefix), []inUse{tc.have})
			var overlap *OverlapError
			if got := errors.As(err, &overlap); got != tc.clash {
				t.Fatalf("overlap: got %v (%v), want %v", got, err, tc.clash)
			}
			if tc.clash && (!strings.Contains(err.Error(), tc.prefix) || !strings.Contains(err.Error(), tc.have.prefix.String()) || !strings.Contains(err.Error(), tc.have.device)) {
				t.Errorf("the error does not name prefix, route and device: %v", err)
			}
		})
	}
}

func TestFindOverlapNamesAllPrefixes(t *testing.T) {
	have := []inUse{
		{prefix: netip.MustParsePrefix("10.77.0.0/16"), what: "route", device: "a"},
		{prefix: netip.MustParsePrefix("fd77:fc::/64"), what: "route", device: "b"},
	}
	err := findOverlap(prefixes("10.77.0.0/16", "fd77:fc::/64"), have)
	for _, want := range []string{"10.77.0.0/16", "fd77:fc::/64"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that names %s", err, want)
		}
	}
}
