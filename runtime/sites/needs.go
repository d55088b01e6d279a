package sites

import (
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/runtime/spec"
)

// unreachable says which sites a spec needs that are not there, or that it may not
// talk to by its own rules.
func unreachable(s *spec.Site, has func(name string) bool) (out []string) {
	for _, name := range s.Needs {
		allowed := slices.ContainsFunc(s.Network.Allow, func(p spec.Peer) bool { return p.Site == name })
		switch {
		case !has(name):
			out = append(out, fmt.Sprintf("needs: there is no site %s; it is woken beside this one as soon as there is", name))
		case !allowed:
			out = append(out, fmt.Sprintf("needs: %s is woken, and may not be talked to unless the node's configuration allows it; to allow it: network: {allow: [\"site:%s\"]}", name, name))
		}
	}
	return out
}
