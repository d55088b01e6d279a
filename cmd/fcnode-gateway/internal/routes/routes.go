// Package routes knows which site has which domain, and where it is: the daemon's feed, followed over its socket, kept on disk
// for when the daemon is away, and looked up by every connection and request.
package routes

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Version is that of the feed which this program understands; see docs/api.md of fcnode.
const Version = 1

// Route is a site as the daemon tells it.
type Route struct {
	Site           string        `json:"site"`
	Domains        []string      `json:"domains"`
	Addresses      []netip.Addr  `json:"addresses"`
	Port           int           `json:"port"`
	HTTPS          string        `json:"https,omitempty"`
	WWW            string        `json:"www,omitempty"`
	Protocol       string        `json:"protocol,omitempty"`
	ProxyProtocol  string        `json:"proxyProtocol,omitempty"`
	WaitingPage    bool          `json:"waitingPage,omitempty"`
	HSTSNs         time.Duration `json:"hstsNs,omitempty"`
	ClientCA       string        `json:"clientCA,omitempty"`
	ClientOptional bool          `json:"clientOptional,omitempty"`
	Ignore         *Ignore       `json:"ignore,omitempty"`
}

// Ignore says which requests never wake the site, and what they get instead.
type Ignore struct {
	UserAgents []string `json:"userAgents,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	Status     int      `json:"status,omitempty"`
}

// Update is one line of the feed.
type Update struct {
	Version int    `json:"version,omitempty"`
	Route   *Route `json:"route,omitempty"`
	Gone    string `json:"gone,omitempty"`
	Synced  bool   `json:"synced,omitempty"`
	// Error is how the daemon ends a feed, when it stops say.
	Error *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// The words of Route.HTTPS.
const (
	Redirect    = "redirect"
	Both        = "both"
	Off         = "off"
	Passthrough = "passthrough"
)

// Upstream is the address and port of the site, "" where it has none.
func (r *Route) Upstream() string {
	if len(r.Addresses) == 0 || r.Port == 0 {
		return ""
	}
	return net.JoinHostPort(r.Addresses[0].String(), strconv.Itoa(r.Port))
}

// Matches says whether a request is one of those that never wake the site.
func (i *Ignore) Matches(path, userAgent string) bool {
	if i == nil {
		return false
	}
	for _, p := range i.Paths {
		if prefix, all := strings.CutSuffix(p, "*"); path == p || all && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	if len(i.UserAgents) == 0 {
		return false
	}
	agent := strings.ToLower(userAgent)
	return slices.ContainsFunc(i.UserAgents, func(part string) bool { return strings.Contains(agent, strings.ToLower(part)) })
}

// maxHost is the longest name that is looked at: 253 bytes in ASCII, before whose conversion there may be up to four for each. The
// conversion takes time by the square of the length, and visitors choose the length.
const maxHost = 1024

// Normalize gives the form in which a host is looked up: without port and final dot, in lower case, international names in
// ASCII. It is "" where no domain can be meant.
func Normalize(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHost {
		return ""
	}
	for i := range len(host) {
		if c := host[i]; c >= 'A' && c <= 'Z' || c >= 0x80 {
			ascii, err := idna.Lookup.ToASCII(host)
			if err != nil {
				return ""
			}
			return ascii
		}
	}
	return host
}
