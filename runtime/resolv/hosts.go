package resolv

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Hosts gives the /etc/hosts of a site: the site finds itself by its host name,
// and others by the names in extra.
func Hosts(hostname string, addrs []netip.Addr, extra map[string]spec.HostAddrs) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s\t%s\n", a, hostname)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		for _, a := range extra[name] {
			fmt.Fprintf(&b, "%s\t%s\n", a, name)
		}
	}
	return b.String()
}
