package front

import (
	"encoding/json"
	"net"
	"strconv"
	"time"

	// What the configuration below names.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/mholt/caddy-l4/modules/l4tls"
)

// object is a piece of Caddy's configuration, of which docs/json of Caddy is the reference.
type object = map[string]any

// certificates is how many are kept in memory.
const certificates = 100_000

// caddyConfig is what Caddy is told. No site is named in it but for files of authorities.
func (g *Gateway) caddyConfig(want shape) ([]byte, error) {
	servers := object{}
	if len(g.cfg.HTTP) > 0 {
		servers["http"] = g.server(g.cfg.HTTP, object{"protocols": []string{"h1"}, "listener_wrappers": g.wrappers(false)})
	}
	if len(g.cfg.HTTPS) > 0 {
		servers["https"] = g.server(g.cfg.HTTPS, object{
			"protocols":               []string{"h1", "h2"}, // h3: quicServer
			"tls_connection_policies": policies(want.clientAuth),
			"listener_wrappers":       g.wrappers(want.passthrough),
			"strict_sni_host":         false, // the handler is stricter: handshakeFor
		})
	}
	return json.Marshal(object{
		"admin": object{"disabled": true, "config": object{"persist": false}},
		// The proxy prepares a logger with all of the request for each request and each piece of an answer, which costs a twentieth
		// of the CPU; what it would say of failures the handler does, with the name of the site.
		"logging": object{"logs": object{"default": object{"exclude": []string{"http.handlers.reverse_proxy"}}}},
		"storage": object{"module": "file_system", "root": g.storage()},
		"apps": object{
			"http": object{
				// Go's server closes a connection on which the first request comes after it has begun to shut down. The next
				// configuration has all that come by then.
				"shutdown_delay": g.firstWithin,
				"http_port":      portOf(g.cfg.HTTP, 80), "https_port": portOf(g.cfg.HTTPS, 443),
				"servers": servers,
			},
			"tls": g.tls(),
		},
	})
}

func portOf(listen []string, usual int) int {
	if len(listen) == 0 {
		return usual
	}
	_, text, _ := net.SplitHostPort(listen[0])
	port, err := strconv.Atoi(text)
	if err != nil {
		return usual
	}
	return port
}

// server is what both servers have; more is added to it.
func (g *Gateway) server(listen []string, more object) object {
	l := &g.cfg.Limits
	s := object{
		"listen":              shared(listen),
		"read_header_timeout": l.HeaderTimeout,
		"max_header_bytes":    l.HeaderBytes,
		"read_idle_timeout":   l.BodyTimeout,
		"read_min_rate":       l.BodyRate,
		"write_idle_timeout":  l.BodyTimeout,
		"idle_timeout":        l.IdleTimeout,
		"automatic_https":     object{"disable": true},
		"routes":              []object{{"handle": []object{g.handler()}}},
	}
	if len(g.cfg.Trusted.Headers) > 0 {
		s["trusted_proxies"] = object{"source": "static", "ranges": g.cfg.Trusted.Headers}
		// The last address that no front end has: what stands before it the visitor may have made up.
		s["trusted_proxies_strict"] = 1
	}
	for key, value := range more {
		s[key] = value
	}
	return s
}

// wrappers are what a connection goes through before HTTP, in this order.
func (g *Gateway) wrappers(forward bool) []object {
	out := []object{{"wrapper": "fcnode"}}
	if len(g.cfg.Trusted.ProxyProtocol) > 0 {
		out = append(out, object{
			"wrapper": "proxy_protocol", "allow": g.cfg.Trusted.ProxyProtocol, "fallback_policy": "SKIP",
			"timeout": g.cfg.Limits.HeaderTimeout,
		})
	}
	if forward {
		out = append(out, object{
			"wrapper": "layer4", "matching_timeout": g.cfg.Limits.HeaderTimeout,
			"routes": []object{{
				"match":  []object{{"tls": object{"fcnode_passthrough": object{}}}},
				"handle": []object{{"handler": "fcnode"}},
			}},
		})
	}
	return append(out, object{"wrapper": "tls"})
}

// policies are one for the sites that ask for no certificates, and one for each way of asking.
func policies(auths []clientAuth) []object {
	out := []object{{"match": object{"fcnode": clientAuth{}}}}
	for _, a := range auths {
		mode := "require_and_verify"
		if a.Optional {
			mode = "verify_if_given"
		}
		out = append(out, object{
			"match":                 object{"fcnode": a},
			"client_authentication": object{"trusted_ca_certs_pem_files": []string{a.CA}, "mode": mode},
		})
	}
	return out
}

func (g *Gateway) tls() object {
	app := object{"cache": object{"capacity": certificates}}
	if len(g.cfg.Certificates) > 0 {
		var files []object
		for _, c := range g.cfg.Certificates {
			files = append(files, object{"certificate": c.Certificate, "key": c.Key})
		}
		app["certificates"] = object{"load_files": files}
	}
	a := g.cfg.ACME
	if a == nil {
		return app
	}
	issuer := object{"module": "fcnode"}
	if a.Directory != "" {
		issuer["ca"] = a.Directory
	}
	if a.Email != "" {
		issuer["email"] = a.Email
	}
	if a.Roots != "" {
		issuer["trusted_roots_pem_files"] = []string{a.Roots}
	}
	challenges := object{}
	if a.HTTPPort != 0 {
		challenges["http"] = object{"alternate_port": a.HTTPPort}
	}
	if a.TLSPort != 0 {
		challenges["tls-alpn"] = object{"alternate_port": a.TLSPort}
	}
	if len(challenges) > 0 {
		issuer["challenges"] = challenges
	}
	app["automation"] = object{
		"policies":  []object{{"on_demand": true, "issuers": []object{issuer}}},
		"on_demand": object{"permission": object{"module": "fcnode"}},
	}
	return app
}

// handler is that of all requests, with its reverse proxies.
func (g *Gateway) handler() object {
	var proxies []object
	for _, w := range wires {
		transport := object{
			"protocol":     "fcnode",
			"dial_timeout": g.cfg.Wake.Timeout,
			"compression":  false, // what the site and the visitor agree on is theirs
			"keep_alive": object{
				"idle_timeout": g.cfg.Wake.KeepAlive, "max_idle_conns_per_host": idlePerSite,
			},
		}
		if w.h2c {
			transport["versions"] = []string{"h2c", "2"}
		} else {
			transport["versions"] = []string{"1.1"}
		}
		if w.proxyProtocol != "" {
			transport["proxy_protocol"] = w.proxyProtocol
		}
		proxies = append(proxies, object{
			"handler":   "reverse_proxy",
			"transport": transport,
			"upstreams": []object{{"dial": "{" + upstreamPlaceholder + "}"}},
			// Streams outlive a change of configuration.
			"stream_close_delay": 24 * time.Hour,
		})
	}
	return object{"handler": "fcnode", "proxies": proxies}
}

// idlePerSite is how many connections to a site are kept without a request.
const idlePerSite = 256
