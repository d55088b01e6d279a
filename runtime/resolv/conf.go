package resolv

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/spec"
)

// Sources are the node's own files, in the order in which they are looked at:
// the second is the real list behind systemd-resolved's stub on 127.0.0.53,
// which no container can reach.
var Sources = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// unreachable is the content for a site that no name server was found for.
const unreachable = "# no name server that a container could reach was found on the node\n"

// Read reads one of Sources; os.ReadFile but in tests.
type Read func(path string) ([]byte, error)

// Conf gives the resolv.conf of a site. In each of servers, search and options
// the site's own word comes first, then the node's, then the node's file.
func Conf(read Read, node, site spec.DNS) string {
	dns := merge(node, site)
	base, reachable := nodeConf(read)
	var b strings.Builder
	if !reachable && len(dns.Servers) == 0 {
		b.WriteString(unreachable)
	}
	for line := range strings.Lines(base) {
		if !replaced(dns, line) {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	if len(dns.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Search, " "))
	}
	for _, server := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}

// replaced says whether a line of the node's file gives way to dns.
func replaced(dns spec.DNS, line string) bool {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return false
	}
	switch fields[0] {
	case "nameserver":
		return len(dns.Servers) > 0
	case "search", "domain":
		return dns.Search != nil
	case "options":
		return dns.Options != nil
	}
	return false
}

// merge lets the site's words go before the node's.
func merge(node, site spec.DNS) spec.DNS {
	if len(site.Servers) == 0 {
		site.Servers = node.Servers
	}
	if site.Search == nil {
		site.Search = node.Search
	}
	if site.Options == nil {
		site.Options = node.Options
	}
	return site
}

// Servers gives the name servers that a site gets, and where they come from.
func Servers(read Read, node, site spec.DNS) (servers []string, source string) {
	text := Conf(read, node, site)
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	switch {
	case len(site.Servers) > 0:
		source = "dns of the spec"
	case len(node.Servers) > 0:
		source = "dns.servers of the configuration"
	default:
		i := slices.IndexFunc(Sources, func(path string) bool { _, ok := reachableIn(read, path); return ok })
		if i >= 0 {
			source = Sources[i]
		}
	}
	return servers, source
}

// Addrs gives the addresses of the name servers of sites that say nothing.
func Addrs(read Read, node spec.DNS) (out []netip.Addr) {
	servers, _ := Servers(read, node, spec.DNS{})
	for _, server := range servers {
		host, _, _ := strings.Cut(server, "%")
		if a, err := netip.ParseAddr(host); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// Missing says what is wrong where a site has no name server, and what to do;
// empty: it has one.
func Missing(read Read, node, site spec.DNS) string {
	if servers, _ := Servers(read, node, site); len(servers) > 0 {
		return ""
	}
	return "sites get no name server: the node's /etc/resolv.conf names none that a site can reach (127.0.0.1 there would be the site itself)"
}

// Remedy is what to do about Missing.
const Remedy = "name servers that sites can reach in dns.servers of the configuration, or in dns of the site's spec"

// nodeConf gives the first of Sources that helps; else what the first of them
// says besides name servers.
func nodeConf(read Read) (text string, reachable bool) {
	for _, path := range Sources {
		found, ok := reachableIn(read, path)
		if ok {
			return found, true
		}
		text = cmp.Or(text, found)
	}
	return text, false
}

func reachableIn(read Read, path string) (string, bool) {
	b, err := read(path)
	if err != nil {
		return "", false
	}
	return withoutLocal(string(b))
}

// withoutLocal takes out the name servers that only the node itself can reach:
// on loopback addresses, and on links of its own.
func withoutLocal(conf string) (string, bool) {
	var kept []string
	reachable := false
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "nameserver" {
			host, _, _ := strings.Cut(fields[1], "%")
			addr, err := netip.ParseAddr(host)
			// resolvers take the unspecified address for this machine
			if err != nil || addr.IsLoopback() || addr.Unmap().IsLoopback() || addr.IsUnspecified() || (addr.Is6() && addr.IsLinkLocalUnicast()) {
				continue
			}
			reachable = true
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, ""), reachable
}
