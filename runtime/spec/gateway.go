package spec

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Gateway says how fcnode-gateway serves the domains of the site.
type Gateway struct {
	// Port is the TCP port of the site that speaks HTTP (TLS with https: passthrough). Default: 80 where the site has it, else
	// the first TCP port that is not 443; 443 with https: passthrough.
	Port int `json:"port,omitzero" also:"backend,upstream,target"`
	// HTTPS is redirect (plain HTTP is sent to HTTPS), both, off (no TLS), or passthrough (the site speaks TLS itself; the gateway
	// forwards it by its SNI). Default: https of the gateway's configuration.
	HTTPS string `json:"https,omitzero" also:"tls,ssl"`
	// WWW is apex (www.D is sent to D, for each domain D) or www (the other way round). The other name need not be listed.
	// Default: neither, and each listed name is served.
	WWW string `json:"www,omitzero" also:"canonical"`
	// Protocol is how the site is asked: http (HTTP/1.1) or h2c (HTTP/2 without TLS). gRPC always goes by h2c. Default: http.
	Protocol string `json:"protocol,omitzero" also:"version,scheme"`
	// ProxyProtocol sends the visitor's address ahead of each connection, v1 or v2, to a site that expects it. Default: off.
	ProxyProtocol string `json:"proxyProtocol,omitzero" also:"proxy"`
	// WaitingPage answers a browser that has waited for a second with a page that reloads itself. Default: false, and it is held.
	WaitingPage bool `json:"waitingPage,omitzero" also:"waiting,loading"`
	// HSTS is for how long browsers are told to use HTTPS only (Strict-Transport-Security), 1s to 17568h. Default: they are not.
	HSTS Duration `json:"hsts,omitzero" also:"strictTransportSecurity"`
	// ClientCertificates asks visitors for a certificate.
	ClientCertificates ClientCertificates `json:"clientCertificates,omitzero" also:"mtls,clientauth,clientcertificate"`
	// Ignore lists requests of monitors and robots, which never wake the site: the gateway answers them itself, unless it has a
	// connection to the site anyway, left open by a visitor's request.
	Ignore Ignore `json:"ignore,omitzero" also:"ignored,monitors,bots"`
}

// ClientCertificates says whose certificates are accepted.
type ClientCertificates struct {
	// CA is the absolute path of a PEM file with the certificates of the authorities, readable by the gateway.
	CA string `json:"ca" jsonschema:"required" also:"file,authority,authorities"`
	// Optional lets visitors without a certificate in; one that is shown must be valid all the same. Default: false.
	Optional bool `json:"optional,omitzero"`
}

// Ignore are requests that do not wake the site: those that match either list.
type Ignore struct {
	// UserAgents are parts of the User-Agent header, in any case.
	UserAgents []string `json:"userAgents,omitempty" also:"useragent,agents,agent"`
	// Paths are exact paths, or, with a * at the end, what paths begin with.
	Paths []string `json:"paths,omitempty" also:"path,urls"`
	// Status is what the gateway itself answers, 200 to 599. Default: 204.
	Status int `json:"status,omitzero" also:"code"`
}

// IsZero says whether nothing was said, which the canonical JSON leaves out.
func (g Gateway) IsZero() bool {
	return g.Port == 0 && g.HTTPS == "" && g.WWW == "" && g.Protocol == "" && g.ProxyProtocol == "" && !g.WaitingPage &&
		g.HSTS == 0 && g.ClientCertificates == (ClientCertificates{}) && g.Ignore.IsZero()
}

// IsZero says whether nothing is ignored.
func (i Ignore) IsZero() bool { return len(i.UserAgents) == 0 && len(i.Paths) == 0 && i.Status == 0 }

// The words of gateway.https.
const (
	HTTPSRedirect    = "redirect"
	HTTPSBoth        = "both"
	HTTPSOff         = "off"
	HTTPSPassthrough = "passthrough"
)

var (
	httpsModes    = []string{HTTPSRedirect, HTTPSBoth, HTTPSOff, HTTPSPassthrough}
	wwwModes      = []string{"apex", "www"}
	webProtocols  = []string{"http", "h2c"}
	proxyVersions = []string{"v1", "v2"}
)

const (
	maxHSTS       = Duration(2 * 366 * 24 * time.Hour)
	maxIgnores    = 64
	maxIgnoreText = 256
	httpPort      = 80
	tlsPort       = 443
)

// HTTPPort is the port of the site that front ends forward to, 0 where it has none.
func (s *Site) HTTPPort() int {
	if s.Gateway.Port != 0 {
		return s.Gateway.Port
	}
	wanted := uint16(httpPort)
	if s.Gateway.HTTPS == HTTPSPassthrough {
		wanted = tlsPort
	}
	first := 0
	for _, p := range s.Ports {
		switch {
		case p.Has(wanted, "tcp"):
			return int(wanted)
		case p.Proto != "tcp" || p.IsRange():
		case first == 0 && p.Port != tlsPort:
			first = int(p.Port)
		}
	}
	if wanted == tlsPort {
		return 0
	}
	return first
}

// gateway checks how the domains are served.
func (c checker) gateway(s *Site) {
	g := &s.Gateway
	if g.IsZero() {
		return
	}
	if len(s.Domains) == 0 {
		c.bad("gateway", "at least one domain in domains", "has no effect: the site has no domains")
	}
	c.word("gateway.https", g.HTTPS, httpsModes)
	c.word("gateway.www", g.WWW, wwwModes)
	c.word("gateway.protocol", g.Protocol, webProtocols)
	c.word("gateway.proxyProtocol", g.ProxyProtocol, proxyVersions)
	switch {
	case g.Port != 0 && !slices.ContainsFunc(s.Ports, func(p Port) bool {
		return p.Proto == "tcp" && g.Port >= int(p.Port) && g.Port <= int(max(p.Last, p.Port))
	}):
		c.bad("gateway.port", "one of ports, of tcp", "%d/tcp is not among the ports of the site", g.Port)
	case g.Port == 0 && s.HTTPPort() == 0:
		c.bad("gateway", "a TCP port among ports (443 with https: passthrough), or gateway.port", "has no port to forward to")
	}
	c.between("gateway.hsts", g.HSTS, Duration(time.Second), maxHSTS)
	if g.HSTS != 0 && (g.HTTPS == HTTPSOff || g.HTTPS == HTTPSPassthrough) {
		c.bad("gateway.hsts", "https: redirect or both", "has no effect with https: %s", g.HTTPS)
	}
	c.passthrough(g)
	if g.ClientCertificates != (ClientCertificates{}) {
		c.path("gateway.clientCertificates.ca", g.ClientCertificates.CA)
		if g.HTTPS == HTTPSOff || g.HTTPS == HTTPSBoth {
			c.bad("gateway.clientCertificates", "https: redirect", "would not be asked for without TLS, which https: %s allows", g.HTTPS)
		}
	}
	c.ignore(g.Ignore)
}

// passthrough refuses what the gateway cannot do in a stream that it cannot read.
func (c checker) passthrough(g *Gateway) {
	if g.HTTPS != HTTPSPassthrough {
		return
	}
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"www", g.WWW != ""}, {"protocol", g.Protocol != ""}, {"waitingPage", g.WaitingPage},
		{"clientCertificates", g.ClientCertificates != (ClientCertificates{})}, {"ignore", !g.Ignore.IsZero()},
	} {
		if field.set {
			c.bad("gateway."+field.name, "another https", "has no effect with https: passthrough: the gateway cannot read the requests")
		}
	}
}

func (c checker) ignore(i Ignore) {
	if i.IsZero() {
		return
	}
	if i.Status != 0 && (i.Status < http.StatusOK || i.Status > 599) {
		c.bad("gateway.ignore.status", "200 to 599", "%d is out of range", i.Status)
	}
	if len(i.UserAgents) == 0 && len(i.Paths) == 0 {
		c.bad("gateway.ignore", "userAgents, paths", "lists nothing to ignore")
	}
	for _, list := range []struct {
		name  string
		texts []string
	}{{"userAgents", i.UserAgents}, {"paths", i.Paths}} {
		at := "gateway.ignore." + list.name
		if len(list.texts) > maxIgnores {
			c.bad(at, fmt.Sprintf("up to %d", maxIgnores), "has %d entries", len(list.texts))
		}
		for n, text := range list.texts {
			at := fmt.Sprintf("%s[%d]", at, n)
			switch {
			case text == "" || len(text) > maxIgnoreText:
				c.bad(at, fmt.Sprintf("1 to %d bytes", maxIgnoreText), "has %d bytes", len(text))
			case list.name == "paths" && !strings.HasPrefix(text, "/"):
				c.bad(at, "a path like /health, or /status/* for all below it", "%q does not begin with /", text)
			case list.name == "paths" && strings.Contains(strings.TrimSuffix(text, "*"), "*"):
				c.bad(at, "a * at the end, or none", "%q has a * elsewhere", text)
			}
		}
	}
}

// word checks one of a few words, of which none is the default.
func (c checker) word(path, text string, words []string) {
	if text == "" || slices.Contains(words, text) {
		return
	}
	hint := ""
	if guess := strictyaml.Suggest(text, words); guess != "" {
		hint = "; did you mean " + guess + "?"
	}
	c.bad(path, strings.Join(words, ", "), "%q is none of them%s", text, hint)
}

// asciiDomain gives the form in which an internationalised name is asked for, "" where there is none.
func asciiDomain(name string) string {
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	if err != nil || len(ascii) > maxDomain || !domainForm.MatchString(ascii) {
		return ""
	}
	return ascii
}
