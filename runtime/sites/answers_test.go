package sites

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

func TestUnanswered(t *testing.T) {
	from := func(a netip.Addr) (string, bool, error) {
		switch {
		case a == netip.MustParseAddr("10.9.0.1"):
			return "", false, errors.New("no route")
		case strings.HasPrefix(a.String(), "10.1."):
			return "eth1", false, nil
		case a.Is6():
			return "eth2", false, nil
		}
		return "eth0", true, nil
	}
	for texts, want := range map[string][]string{
		"":                       nil,
		"internet site:db host":  nil,
		"192.0.2.1:3306/tcp":     nil,
		"10.9.0.1:3306/tcp":      nil,
		"10.1.0.5 10.1.0.6:6379": {"10.1.0.5 answers comes in by eth1"},
		"10.1.0.5 fd00::/64":     {"10.1.0.5 answers comes in by eth1", "fd00:: answers comes in by eth2"},
	} {
		var n spec.Network
		for text := range strings.FieldsSeq(texts) {
			p, err := spec.ParsePeer(text)
			if err != nil {
				t.Fatal(err)
			}
			n.Allow = append(n.Allow, p)
		}
		got := Unanswered(n, from)
		if !slices.EqualFunc(got, want, strings.Contains) {
			t.Errorf("%q: %q, want %q", texts, got, want)
		}
	}
}
