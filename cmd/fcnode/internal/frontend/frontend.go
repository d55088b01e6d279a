// Package frontend writes configurations of other programs that serve sites on shared addresses: nginx, HAProxy, Caddy, Traefik
// and Apache. To them a site is an address and a port; that it may sleep shows only in time-outs.
package frontend

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
)

//go:embed templates
var templates embed.FS

// Programs for which there is a configuration.
var Programs = []string{"apache", "caddy", "haproxy", "nginx", "traefik"}

// Options of a configuration.
type Options struct {
	// Certificate and Key are files for HTTPS; {domain} in them stands for the name. Empty: no HTTPS, but where the program gets
	// certificates by itself (Caddy), or has them configured elsewhere (Traefik).
	Certificate, Key string
}

// Name is one host name of a site.
type Name struct {
	Host      string
	Canonical string // to which its visitors are sent; "": it is served
	Site      string
	Upstream  string // address and port
	// HTTP and HTTPS say by which of both it is served; where HTTP is not, visitors are sent to HTTPS.
	HTTP, HTTPS bool
	H2C         bool
	// ProxyProtocol is v1, v2 or empty.
	ProxyProtocol string
	HSTS          int64 // seconds
	Passthrough   bool
	Certificate   string
	Key           string
}

// ID is a name for what belongs to the host in configurations.
func (n Name) ID() string { return "fcnode_" + n.Host }

// cannot says what a program lacks for a name, "" if nothing.
func cannot(program string, n Name, r *api.Route) string {
	tls := n.Certificate != "" || program == "caddy" || program == "traefik"
	switch {
	case n.Upstream == "":
		return "the site has neither a TCP port for HTTP nor gateway.port"
	case n.Passthrough && program != "traefik":
		return "TLS is passed through: configure that beside this file"
	case r.ClientCA != "":
		return "visitors need certificates: configure the site beside this file"
	case n.ProxyProtocol != "" && program != "haproxy" && program != "caddy":
		return program + " does not send the PROXY protocol to sites by HTTP"
	case n.H2C && program == "nginx":
		return "nginx does not speak HTTP/2 with sites"
	case !n.HTTP && !tls:
		return "it is served by HTTPS only: give --certificate and --key"
	}
	return ""
}

// Left is a site that is not in the configuration, and why.
type Left struct{ Site, Reason string }

// Write writes the configuration of a program for the routes, in the order of the names, and says which sites are not in it.
func Write(w io.Writer, program string, routes []api.Route, o Options) ([]Left, error) {
	if !slices.Contains(Programs, program) {
		return nil, fmt.Errorf("no configuration for %q; there are some for %s", program, strings.Join(Programs, ", "))
	}
	listed := map[string]bool{}
	for i := range routes {
		for _, d := range routes[i].Domains {
			listed[d] = true
		}
	}
	var names []Name
	var left []Left
	for i := range routes {
		of := namesOf(&routes[i], listed, o)
		reason := ""
		for _, n := range of {
			if r := cannot(program, n, &routes[i]); r != "" {
				reason = r
			}
		}
		if reason != "" {
			left = append(left, Left{routes[i].Site, reason})
			continue
		}
		names = append(names, of...)
	}
	slices.SortFunc(names, func(a, b Name) int { return strings.Compare(a.Host, b.Host) })
	t, err := template.New(program+".tmpl").Funcs(template.FuncMap{
		"seconds": func() int { return int(wakeTimeout.Seconds()) },
		"visitor": func() []string { return visitorHeaders },
	}).ParseFS(templates, "templates/"+program+".tmpl")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	data := struct {
		Names, Passed, Services []Name // Services: one name of each site that is served by HTTP
		Left                    []Left
		TLS                     bool
		Certs, Keys             []string // of the names that are served by HTTPS, in the order of the names
	}{names, pick(names, true), pick(names, false), left, o.Certificate != "", files(names, Name.certificate), files(names, Name.key)}
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("write the configuration of %s: %w", program, err)
	}
	_, err = w.Write(out.Bytes())
	return left, err
}

// wakeTimeout is how long a front end waits for a site to wake.
const wakeTimeout = 2 * time.Minute

// visitorHeaders are what a site is told of its visitor, so that no visitor may bring them; those with underscores many servers take
// for the same.
var visitorHeaders = []string{
	"Forwarded", "X-Client-Subject", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-IP",
	"X_Client_Subject", "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Forwarded_Server", "X_Real_IP",
}

// pick gives the names that are passed through, or one of each site that is not.
func pick(names []Name, passthrough bool) []Name {
	var out []Name
	seen := map[string]bool{}
	for _, n := range names {
		if n.Passthrough != passthrough || !passthrough && seen[n.Site] {
			continue
		}
		seen[n.Site] = true
		out = append(out, n)
	}
	return out
}

func (n Name) certificate() string { return n.Certificate }
func (n Name) key() string         { return n.Key }

func files(names []Name, of func(Name) string) []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, n := range names {
		if file := of(n); n.HTTPS && !seen[file] {
			seen[file] = true
			out = append(out, file)
		}
	}
	return out
}

// namesOf gives the names of a site, with those that follow from www unless another site lists them.
func namesOf(r *api.Route, listed map[string]bool, o Options) []Name {
	base := Name{
		Site: r.Site, HTTP: r.HTTPS != spec.HTTPSRedirect && r.HTTPS != spec.HTTPSPassthrough, HTTPS: r.HTTPS != spec.HTTPSOff,
		H2C: r.Protocol == "h2c", ProxyProtocol: r.ProxyProtocol, HSTS: int64(r.HSTSNs / time.Second), Passthrough: r.HTTPS == spec.HTTPSPassthrough,
	}
	if len(r.Addresses) > 0 && r.Port != 0 {
		base.Upstream = net.JoinHostPort(r.Addresses[0].String(), strconv.Itoa(r.Port))
	}
	canonical := map[string]string{}
	for _, d := range r.Domains {
		if r.WWW == "" {
			canonical[d] = ""
			continue
		}
		apex := strings.TrimPrefix(d, "www.")
		to := apex
		if r.WWW == "www" {
			to = "www." + apex
		}
		for _, name := range []string{apex, "www." + apex} {
			if listed[name] && !slices.Contains(r.Domains, name) {
				continue // it is another site's
			}
			if canonical[name] = to; name == to {
				canonical[name] = ""
			}
		}
	}
	out := make([]Name, 0, len(canonical))
	for host, to := range canonical {
		n := base
		n.Host, n.Canonical = host, to
		if n.HTTPS && o.Certificate != "" {
			n.Certificate = strings.ReplaceAll(o.Certificate, "{domain}", host)
			n.Key = strings.ReplaceAll(o.Key, "{domain}", host)
		}
		out = append(out, n)
	}
	return out
}
