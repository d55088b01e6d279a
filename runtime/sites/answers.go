package sites

import (
	"fmt"
	"net/netip"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Unanswered says whose answers a site would never get though it may talk to them:
// they come in by a link that passes nothing on to sites. from is netctl.AnswersFrom.
func Unanswered(n spec.Network, from func(netip.Addr) (link string, forwarded bool, err error)) (out []string) {
	told := map[string]bool{}
	for _, p := range n.Allow {
		if !p.Prefix.IsValid() {
			continue
		}
		link, forwarded, err := from(p.Prefix.Addr())
		if err != nil || forwarded || told[link] { // that there is no way is for others to say
			continue
		}
		told[link] = true
		out = append(out, fmt.Sprintf("network.allow: what %s answers comes in by %s and does not reach the site, as the kernel passes nothing on that comes in there; "+
			"add %s to uplinks of the node's configuration", p.Prefix.Addr(), link, link))
	}
	return out
}
