// Package conf is the configuration of the gateway, /etc/fcnode/gateway.yaml: decoded strictly, with defaults for everything.
package conf

import (
	"net/netip"
	"time"
)

// DefaultPath is the file that is read when none is named.
const DefaultPath = "/etc/fcnode/gateway.yaml"

// Config is the configuration of a gateway. Get one from Default or Load.
type Config struct {
	// HTTP and HTTPS are the addresses to listen on, like :80 or 192.0.2.1:443. HTTP/3 listens on those of HTTPS, too.
	HTTP  []string `yaml:"http"`
	HTTPS []string `yaml:"https"`
	// HTTP3 offers HTTP/3.
	HTTP3 bool `yaml:"http3"`
	// Source is the address of this machine from which sites are reached. Invalid: the one that the kernel takes.
	Source netip.Addr `yaml:"source"`
	// Routes is the daemon's socket.
	Routes string `yaml:"routes"`
	// StateDir keeps the last known routes and the certificates that were issued.
	StateDir string `yaml:"stateDir"`
	// DefaultHTTPS is what a site gets whose spec does not say: redirect, both or off.
	DefaultHTTPS string `yaml:"defaultHTTPS"`
	// Certificates are files; the names in them choose.
	Certificates []Certificate `yaml:"certificates"`
	ACME         *ACME         `yaml:"acme"`
	Trusted      Trusted       `yaml:"trusted"`
	Limits       Limits        `yaml:"limits"`
	Wake         Wake          `yaml:"wake"`
	// Pages is a folder with waiting.html and unavailable.html, in place of the pages that are built in.
	Pages string `yaml:"pages"`
}

// Certificate is one certificate with its key, both in PEM.
type Certificate struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// ACME says where certificates are issued for the domains of sites, when they are first asked for.
type ACME struct {
	// Directory is the URL of the authority. Empty: Let's Encrypt.
	Directory string `yaml:"directory"`
	Email     string `yaml:"email"`
	// Roots is a PEM file with the certificates by which the authority itself is known.
	Roots string `yaml:"roots"`
	// HTTPPort and TLSPort are where the authority connects to, if the network in front leads 80 and 443 elsewhere.
	HTTPPort int `yaml:"httpPort"`
	TLSPort  int `yaml:"tlsPort"`
}

// Trusted are the front ends before the gateway whose word about the visitor is taken.
type Trusted struct {
	// Headers may send X-Forwarded-For, X-Forwarded-Proto and Forwarded.
	Headers []netip.Prefix `yaml:"headers"`
	// ProxyProtocol send the PROXY protocol, version 1 or 2, at the beginning of each connection.
	ProxyProtocol []netip.Prefix `yaml:"proxyProtocol"`
}

// Limits bound what one visitor, and one site, may take. 0 is no limit.
type Limits struct {
	// HeaderTimeout is how long a request's header may take, and HeaderBytes how long it may be.
	HeaderTimeout time.Duration `yaml:"headerTimeout"`
	HeaderBytes   int           `yaml:"headerBytes"`
	// BodyTimeout is how long a body may pause, and BodyRate the bytes per second that it must reach all the same.
	BodyTimeout time.Duration `yaml:"bodyTimeout"`
	BodyRate    int64         `yaml:"bodyRate"`
	// IdleTimeout is how long a connection is kept without a request.
	IdleTimeout time.Duration `yaml:"idleTimeout"`
	// Connections is how many a source may have: an IPv4 address, or an IPv6 /64.
	Connections int `yaml:"connections"`
	// Rate is how many requests per second a source may make of one site, and Burst how many at once.
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
	// PerSite is how many requests may be under way at one site.
	PerSite int `yaml:"perSite"`
	// Wakes is how many sites a network may wake at once, an IPv4 /24 or an IPv6 /64, and WakeRate how many more each second.
	Wakes    int     `yaml:"wakes"`
	WakeRate float64 `yaml:"wakeRate"`
}

// Wake says how visitors wait for a site that sleeps.
type Wake struct {
	// Page is after how long a browser gets the waiting page, where the site has one.
	Page time.Duration `yaml:"page"`
	// Timeout is how long a visitor is held at most.
	Timeout time.Duration `yaml:"timeout"`
	// Reload is after how long the waiting page asks again.
	Reload time.Duration `yaml:"reload"`
	// AtRequest wakes a site when its request has come, instead of when the TLS handshake names it.
	AtRequest bool `yaml:"atRequest"`
	// KeepAlive is how long a connection to a site is kept without a request. The site stays awake for so much longer.
	KeepAlive time.Duration `yaml:"keepAlive"`
}

// Default gives the configuration of a gateway without a file.
func Default() Config {
	return Config{
		HTTP: []string{":80"}, HTTPS: []string{":443"}, HTTP3: true,
		Routes: "/run/fcnode-routes.sock", StateDir: "/var/lib/fcnode-gateway", DefaultHTTPS: "both",
		Limits: Limits{
			HeaderTimeout: 10 * time.Second, HeaderBytes: 64 << 10, BodyTimeout: 30 * time.Second, BodyRate: 256,
			IdleTimeout: 2 * time.Minute, Connections: 512, Rate: 200, Burst: 400, PerSite: 4096,
			Wakes: 64, WakeRate: 4,
		},
		Wake: Wake{Page: time.Second, Timeout: 2 * time.Minute, Reload: 2 * time.Second, KeepAlive: 5 * time.Second},
	}
}
