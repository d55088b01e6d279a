package frontend

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/fcnode/fcnode/runtime/api"
)

var update = flag.Bool("update", false, "write the examples instead of comparing them")

func route(site string, change func(*api.Route)) api.Route {
	r := api.Route{
		Site: site, Domains: []string{site + ".example"}, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77::9")}, Port: 8080,
	}
	if change != nil {
		change(&r)
	}
	return r
}

// examples has a site of each kind.
var examples = []api.Route{
	route("plain", func(r *api.Route) { r.HTTPS = "off" }),
	route("both", nil),
	route("shop", func(r *api.Route) { r.HTTPS, r.WWW, r.HSTSNs = "redirect", "apex", time.Hour }),
	route("www", func(r *api.Route) { r.WWW = "www" }),
	route("grpc", func(r *api.Route) { r.Protocol = "h2c" }),
	route("told", func(r *api.Route) { r.ProxyProtocol = "v2" }),
	route("six", func(r *api.Route) { r.Addresses = r.Addresses[1:] }),
	route("through", func(r *api.Route) { r.HTTPS, r.Port = "passthrough", 443 }),
	route("none", func(r *api.Route) { r.Port = 0 }),
	route("strict", func(r *api.Route) { r.ClientCA = "/ca.pem" }),
}

// The configurations are those in testdata. That the programs take them TestRootFrontEnds shows (tests/e2e), of Traefik's tests/traefik with its own
// reader, of Caddy's with all that this version has the gateway's tests.
func TestWrite(t *testing.T) {
	for _, program := range Programs {
		for _, tls := range []bool{false, true} {
			name, o := program, Options{}
			if tls {
				name, o = program+"-tls", Options{Certificate: "/tls/{domain}.pem", Key: "/tls/{domain}.key"}
			}
			var out bytes.Buffer
			if _, err := Write(&out, program, examples, o); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
				t.Errorf("%s (run with -update if this is meant):\n%s", name, diff)
			}
		}
	}
}

// What a program lacks for a site is told, and nothing half-made is written for it.
func TestLeft(t *testing.T) {
	for program, want := range map[string]string{
		"nginx": "grpc none shop strict through told", "apache": "none shop strict through told", "haproxy": "none shop strict through",
		"caddy": "none strict through", "traefik": "none strict told",
	} {
		var out bytes.Buffer
		left, err := Write(&out, program, examples, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		rest := out.String()
		for _, l := range left {
			names = append(names, l.Site)
			line := fmt.Sprintf("# Left out: %s: %s\n", l.Site, l.Reason)
			if !strings.Contains(rest, line) {
				t.Errorf("%s does not say %s", program, line)
			}
			rest = strings.Replace(rest, line, "", 1)
			if strings.Contains(rest, l.Site+".example") {
				t.Errorf("%s has a part of %s all the same", program, l.Site)
			}
		}
		got := strings.Fields(strings.Join(names, " "))
		for _, name := range strings.Fields(want) {
			found := false
			for _, g := range got {
				found = found || g == name
			}
			if !found {
				t.Errorf("%s does not leave out %s", program, name)
			}
		}
		if len(got) != len(strings.Fields(want)) {
			t.Errorf("%s leaves out %v, want %s", program, got, want)
		}
	}
	if _, err := Write(&bytes.Buffer{}, "iis", examples, Options{}); err == nil {
		t.Error("there is a configuration for anything")
	}
}

// A name that follows from www is given up to the site that lists it.
func TestListedNamesGoFirst(t *testing.T) {
	var out bytes.Buffer
	_, err := Write(&out, "caddy", []api.Route{
		route("a", func(r *api.Route) { r.WWW = "apex" }),
		route("b", func(r *api.Route) { r.Domains = []string{"www.a.example"} }),
	}, Options{})
	if err != nil || strings.Count(out.String(), "https://www.a.example {") != 1 || strings.Count(out.String(), "http://www.a.example {") != 1 || strings.Contains(out.String(), "redir") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Traefik's file is YAML, and all that it refers to is in it.
func TestTraefik(t *testing.T) {
	for _, name := range []string{"traefik", "traefik-tls"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		type router struct {
			Rule        string         `json:"rule"`
			EntryPoints []string       `json:"entryPoints"`
			Service     string         `json:"service"`
			Middlewares []string       `json:"middlewares"`
			TLS         map[string]any `json:"tls"`
		}
		type part struct {
			Routers           map[string]router         `json:"routers"`
			Services          map[string]map[string]any `json:"services"`
			Middlewares       map[string]map[string]any `json:"middlewares"`
			ServersTransports map[string]any            `json:"serversTransports"`
		}
		var cfg struct{ HTTP, TCP part }
		asJSON, err := yaml.YAMLToJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(asJSON))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&cfg); err != nil {
			t.Fatal(err)
		}
		for _, p := range []part{cfg.HTTP, cfg.TCP} {
			for id, r := range p.Routers {
				_, ok := p.Services[r.Service]
				ok = ok || r.Service == "noop@internal" // Traefik's own, for what is only redirected
				if !ok || r.Rule == "" || len(r.EntryPoints) != 1 {
					t.Errorf("%s: router %s: %+v", name, id, r)
				}
				for _, m := range r.Middlewares {
					if _, ok := p.Middlewares[m]; !ok {
						t.Errorf("%s: router %s: no middleware %s", name, id, m)
					}
				}
			}
		}
		if len(cfg.HTTP.Routers) < 8 || len(cfg.TCP.Routers) != 1 {
			t.Errorf("%s: %d and %d routers", name, len(cfg.HTTP.Routers), len(cfg.TCP.Routers))
		}
	}
}
