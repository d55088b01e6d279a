package life

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// resolvers are looked at in this order: the second is the real list behind
// systemd-resolved's stub on 127.0.0.53, which no container can reach.
var resolvers = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// resolvConf is the node's, without the name servers that only the node itself
// can reach: on loopback addresses, and on links of its own.
func resolvConf() string {
	for _, path := range resolvers {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if text, reachable := withoutLocal(string(b)); reachable {
			return text
		}
	}
	return "# no name server that a container could reach was found on the node\n"
}

// Resolvers are the name servers that sites are told of.
func Resolvers() (out []netip.Addr) {
	for line := range strings.Lines(resolvConf()) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		host, _, _ := strings.Cut(fields[1], "%")
		if a, err := netip.ParseAddr(host); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func withoutLocal(conf string) (string, bool) {
	var kept []string
	reachable := false
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "nameserver" {
			host, _, _ := strings.Cut(fields[1], "%")
			addr, err := netip.ParseAddr(host)
			// resolvers take the unspecified address for this machine
			if err != nil || addr.IsLoopback() || addr.IsUnspecified() || (addr.Is6() && addr.IsLinkLocalUnicast()) {
				continue
			}
			reachable = true
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, ""), reachable
}

// hostsFile lets a site find itself by its host name.
func hostsFile(hostname string, addrs []netip.Addr) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s\t%s\n", a, hostname)
	}
	return b.String()
}
