package sites

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/fcnode/fcnode/runtime/spec"
)

// IgnoredSelf says what is wrong with a list that has the node itself in it: whoever
// comes by a gateway or front end there comes from its addresses. Empty: nothing is.
func IgnoredSelf(i spec.Ignored, own func() ([]net.Addr, error)) string {
	if len(i.Sources) == 0 {
		return ""
	}
	addrs, err := own()
	if err != nil {
		return "" // it would have been a hint
	}
	for n, s := range i.Sources {
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !s.Contains(p.Addr().Unmap()) || p.Addr().IsLoopback() {
				continue
			}
			return fmt.Sprintf("ignore.sources[%d]: %s has an address of the node itself, %s: visitors who come by a gateway or front end on it do not wake sites, nor keep them awake; leave it out, "+
				"and see gateway.ignore for monitors that come that way", n, s, p.Addr())
		}
	}
	return ""
}
