package spec

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// DNS is how names are resolved. In a file a list is Servers. What is left out is as the node has it: its configuration, then its own
// /etc/resolv.conf.
type DNS struct {
	// Servers are the addresses of up to 3 name servers. Default: the node's.
	Servers []netip.Addr `json:"servers,omitempty" also:"nameservers,nameserver,server"`
	// Search are up to 6 domains in which names without a dot are looked for; [] is none. Default: the node's.
	Search []string `json:"search,omitzero" also:"domain,domains,searches"`
	// Options of the resolver, like ndots:2; [] is none. Default: the node's.
	Options []string `json:"options,omitzero" also:"option,opts"`
}

// PortDNS is the port of name servers.
const PortDNS = 53

// What resolvers read of a resolv.conf: MAXNS of glibc and musl, and MAXDNSRCH of glibc before 2.26.
const (
	maxServers    = 3
	maxSearch     = 6
	maxOptions    = 16
	maxExtraHosts = 256

	optionPattern = `^[a-z][a-z0-9-]{0,31}(:[0-9]{1,5})?$`

	// hostNamePattern is looser than that of domains: names of hosts may be numbers in part and have underscores.
	hostNamePattern = `^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`
	hostNameAllowed = "a host name without a dot at its end, like db.internal"
)

var (
	optionForm   = regexp.MustCompile(optionPattern)
	hostNameForm = regexp.MustCompile(hostNamePattern)
)

// IsZero says whether nothing of it is given.
func (d DNS) IsZero() bool { return d.Servers == nil && d.Search == nil && d.Options == nil }

// DecodeList implements strictyaml.ListDecoder.
func (d *DNS) DecodeList() any {
	*d = DNS{}
	return &d.Servers
}

// Check reports what is wrong by the paths of the fields below path.
func (d DNS) Check(path string, report func(path string, err error)) {
	c := checker{report: report}
	if len(d.Servers) > maxServers {
		c.bad(path+".servers", "up to 3 name servers, which is what resolvers read", "has %d", len(d.Servers))
	}
	for i, a := range d.Servers {
		at := fmt.Sprintf("%s.servers[%d]", path, i)
		const allowed = "addresses of name servers that a site can reach"
		switch {
		case !a.IsValid():
			c.bad(at, allowed, "is not an address")
		case a.Unmap().IsLoopback() || a.IsUnspecified():
			c.bad(at, allowed, "%s would be the site itself", a)
		case a.Zone() != "" || a.Is4In6() || a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast():
			c.bad(at, allowed, "%s cannot be a name server", a)
		case slices.Index(d.Servers, a) < i:
			c.bad(at, "", "%s stands in the list twice", a)
		}
	}
	if len(d.Search) > maxSearch {
		c.bad(path+".search", "up to 6 domains, which is what resolvers read", "has %d", len(d.Search))
	}
	for i, domain := range d.Search {
		at := fmt.Sprintf("%s.search[%d]", path, i)
		if len(domain) > maxDomain || !hostNameForm.MatchString(domain) {
			c.bad(at, "a domain without a dot at its end, like example.com", "%q is not a domain", domain)
		} else if slices.Index(d.Search, domain) < i {
			c.bad(at, "", "%q stands in the list twice", domain)
		}
	}
	if len(d.Options) > maxOptions {
		c.bad(path+".options", "up to 16 options", "has %d", len(d.Options))
	}
	for i, o := range d.Options {
		if !optionForm.MatchString(o) {
			c.bad(fmt.Sprintf("%s.options[%d]", path, i), "an option of resolv.conf(5), like ndots:2 or rotate", "%q is not an option", o)
		}
	}
}

// HostAddrs are the addresses of one name in extraHosts. In a file a single one needs no list.
type HostAddrs []netip.Addr

// DecodeScalar implements strictyaml.ScalarDecoder.
func (h *HostAddrs) DecodeScalar(s strictyaml.Scalar) error {
	const allowed = "an IPv4 or IPv6 address like 10.1.0.5, or a list of them"
	a, err := netip.ParseAddr(s.Text)
	if err != nil {
		return strictyaml.Bad(allowed, "%q is not an address", s.Text)
	}
	*h = HostAddrs{a}
	return nil
}

// extraHosts checks the names that stand in the site's /etc/hosts.
func (c checker) extraHosts(hosts map[string]HostAddrs) {
	if len(hosts) > maxExtraHosts {
		c.bad("extraHosts", fmt.Sprintf("up to %d names", maxExtraHosts), "has %d names", len(hosts))
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		at := "extraHosts." + name
		switch {
		case len(name) > maxDomain || !hostNameForm.MatchString(name):
			c.bad(at, hostNameAllowed, "%q is not a host name", name)
			continue
		case strings.EqualFold(name, "localhost"):
			c.bad(at, hostNameAllowed, "localhost is the site itself")
			continue
		case len(hosts[name]) == 0:
			c.bad(at, "one address or more", "has no address")
		}
		for i, a := range hosts[name] {
			if !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
				c.bad(fmt.Sprintf("%s[%d]", at, i), "an address of a host", "%s cannot be the address of a host", a)
			}
		}
	}
}
