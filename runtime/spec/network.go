package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Network says to whom the site may open connections, and send datagrams of its own accord. Answers to visitors always pass. What
// is in neither list is decided by network of the node's configuration, and then: the Internet is allowed, but for port 25; the node
// itself, its other networks, link-local addresses and other sites are not.
type Network struct {
	// Allow lists what the site may reach besides: internet, host (the node's own addresses), site:NAME, an address or a prefix, each
	// alone or with a port: 10.1.0.5:3306/tcp, site:db:5432/tcp, "[fd00::5]:3306/tcp", internet:25/tcp.
	Allow []Peer `json:"allow,omitempty" also:"egress,permit,to"`
	// Deny lists what it may not reach, in the same words.
	Deny []Peer `json:"deny,omitempty" also:"block,refuse"`
	// Rate bounds what the site sends into the Internet of its own accord. Answers to visitors, and whom an address or site: of
	// allow names, are not bounded.
	Rate NetworkRate `json:"rate,omitzero" also:"rates,limit,ratelimit,bandwidth"`
}

// NetworkRate is how much a site may begin and send in the Internet.
type NetworkRate struct {
	// Connections that the site may begin a second, with all of its replicas; ten times as many at once. Flows of datagrams and pings
	// count as one each. Default: network.rate.connections of the node's configuration.
	Connections Pace `json:"connections,omitzero" also:"conns,flows,syns"`
	// Packets that the site may send a second on what it has begun. Default: network.rate.packets of the node's configuration.
	Packets Pace `json:"packets,omitzero" also:"pps,datagrams"`
}

// IsZero says whether nothing was said, which the canonical JSON leaves out.
func (n Network) IsZero() bool {
	return len(n.Allow) == 0 && len(n.Deny) == 0 && n.Rate == NetworkRate{}
}

// Peer is somebody to talk to, or all of a kind.
type Peer struct {
	Word   string       // PeerInternet, PeerHost, or empty
	Site   string       // name of a site, or empty
	Prefix netip.Prefix // where the others are empty
	Port   Port         // zero: all, with every protocol
}

// The words of peers that have no address.
const (
	PeerInternet = "internet"
	PeerHost     = "host"

	peerSite = "site:"
)

const (
	peerAllowed = "internet, host, site:NAME, an address or a prefix, with or without a port like :3306/tcp (IPv6 with a port: [fd00::5]:3306/tcp)"
	peerPattern = `^(internet|host|site:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|[0-9.]+(/[0-9]{1,2})?|\[[0-9a-fA-F:.]+(/[0-9]{1,3})?\])(:[0-9]{1,5}(/(tcp|udp))?)?$` +
		`|^[0-9a-fA-F]*:[0-9a-fA-F:.]*(/[0-9]{1,3})?$`
	maxPeers = 64
)

// ParsePeer reads a peer. Errors are of type *strictyaml.Invalid.
func ParsePeer(text string) (Peer, error) {
	if p, err := parsePrefix(text); err == nil { // also one of IPv6 without brackets
		return Peer{Prefix: p}, nil
	}
	bad := func(format string, args ...any) (Peer, error) {
		return Peer{}, strictyaml.Bad(peerAllowed, "%q "+format, append([]any{text}, args...)...)
	}
	host, port, ported := cutPort(text)
	var p Peer
	if ported {
		var err error
		if p.Port, err = ParsePort(port); err != nil {
			return bad("has no port like 3306/tcp at its end")
		}
		if p.Port.IsRange() {
			return bad("has a range of ports, and rules are for one port each, or for all")
		}
	}
	name, isSite := strings.CutPrefix(host, peerSite)
	switch {
	case host == PeerInternet || host == PeerHost:
		p.Word = host
	case isSite && labelForm.MatchString(name):
		p.Site = name
	case isSite:
		return bad("is not the name of a site")
	default:
		var err error
		if p.Prefix, err = parsePrefix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err != nil {
			hint := ""
			if strings.IndexFunc(host, func(r rune) bool { return r >= 'g' && r <= 'z' }) >= 0 {
				hint = ": names are not looked up here; give the addresses"
			}
			return bad("is nobody%s", hint)
		}
	}
	return p, nil
}

// cutPort takes the port off the end of a peer. That of IPv6 is behind brackets.
func cutPort(text string) (host, port string, ok bool) {
	if inner, rest, bracketed := strings.Cut(text, "]"); bracketed {
		port, ok = strings.CutPrefix(rest, ":")
		if !ok {
			port = "" // what follows is none
		}
		return inner, port, rest != ""
	}
	from := 0
	if strings.HasPrefix(text, peerSite) {
		from = len(peerSite)
	}
	host, port, ok = strings.Cut(text[from:], ":")
	return text[:from] + host, port, ok
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && p.Addr().Is4In6() {
		err = strictyaml.Bad("", "is IPv4: write it as such")
	}
	return p, err
}

// String gives the form that ParsePeer reads.
func (p Peer) String() string {
	var host string
	switch {
	case p.Word != "":
		host = p.Word
	case p.Site != "":
		host = peerSite + p.Site
	case p.Prefix.IsSingleIP():
		host = p.Prefix.Addr().String()
	default:
		host = p.Prefix.String()
	}
	if p.Port == (Port{}) {
		return host
	}
	if p.Prefix.Addr().Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + p.Port.String()
}

// MarshalText implements encoding.TextMarshaler; the text is that of String.
func (p Peer) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Peer) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePeer(string(text))
	return err
}

// overlaps says whether a connection can be to both, and neither goes before the other: of internet and host the one with a port is
// the exception to the one without, and an address to internet.
func (p Peer) overlaps(q Peer) bool {
	if p.Word != q.Word || p.Site != q.Site {
		return false
	}
	if p.Word != "" {
		return p.Port == q.Port
	}
	if p.Port != q.Port && p.Port != (Port{}) && q.Port != (Port{}) {
		return false
	}
	return p.Site != "" || p.Prefix.Overlaps(q.Prefix)
}

// Check tells what is wrong with the lists; the paths are below "network".
func (n Network) Check(report func(path string, err error)) {
	c := checker{report: report}
	for _, list := range []struct {
		name  string
		peers []Peer
	}{{"allow", n.Allow}, {"deny", n.Deny}} {
		if len(list.peers) > maxPeers {
			c.bad("network."+list.name, fmt.Sprintf("up to %d", maxPeers), "has %d entries", len(list.peers))
		}
		for i, p := range list.peers {
			at := fmt.Sprintf("network.%s[%d]", list.name, i)
			switch {
			case p.Word == "" && p.Site == "" && !p.Prefix.IsValid():
				c.bad(at, peerAllowed, "is empty")
			case p.Prefix.IsValid() && p.Prefix != p.Prefix.Masked():
				c.bad(at, "", "%s has bits behind its length; did you mean %s?", p.Prefix, p.Prefix.Masked())
			case slices.Index(list.peers, p) < i:
				c.bad(at, "", "%s stands in the list twice", p)
			}
		}
	}
	for at, rate := range map[string]Pace{"network.rate.connections": n.Rate.Connections, "network.rate.packets": n.Rate.Packets} {
		if err := rate.check(); err != nil && rate != 0 {
			report(at, err)
		}
	}
	for i, d := range n.Deny {
		for j, a := range n.Allow {
			if d.overlaps(a) {
				c.bad(fmt.Sprintf("network.deny[%d]", i), "lists that do not overlap", "%s overlaps with %s of network.allow[%d]", d, a, j)
			}
		}
	}
}
