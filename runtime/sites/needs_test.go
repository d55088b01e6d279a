package sites

import (
	"slices"
	"testing"

	"github.com/fcnode/fcnode/runtime/spec"
)

// TestUnreachable: a site that is needed and is not there, or may not be talked to, is told when the spec is applied.
func TestUnreachable(t *testing.T) {
	peer, err := spec.ParsePeer("site:db:3306/tcp")
	if err != nil {
		t.Fatal(err)
	}
	s := &spec.Site{Name: "blog", Needs: []string{"db", "cache", "gone"}, Network: spec.Network{Allow: []spec.Peer{peer}}}
	got := unreachable(s, func(name string) bool { return name != "gone" })
	want := []string{
		`needs: cache is woken, and may not be talked to unless the node's configuration allows it; to allow it: network: {allow: ["site:cache"]}`,
		"needs: there is no site gone; it is woken beside this one as soon as there is",
	}
	if !slices.Equal(got, want) {
		t.Errorf("warned of %q, want %q", got, want)
	}
}
