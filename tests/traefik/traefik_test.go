// Package traefik shows that Traefik takes what `fcnode routes -o traefik` writes: its own reader of such files, and its own rules.
package traefik

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/traefik/paerser/file"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/middlewares/requestdecorator"
	httpmuxer "github.com/traefik/traefik/v3/pkg/muxer/http"
	tcpmuxer "github.com/traefik/traefik/v3/pkg/muxer/tcp"
)

const written = "../../cmd/fcnode/internal/frontend/testdata"

// read decodes a file as Traefik's file provider does: a field that it does not know is an error.
func read(t *testing.T, text string) (*dynamic.Configuration, error) {
	t.Helper()
	cfg := &dynamic.Configuration{
		HTTP: &dynamic.HTTPConfiguration{
			Routers: map[string]*dynamic.Router{}, Services: map[string]*dynamic.Service{},
			Middlewares: map[string]*dynamic.Middleware{}, ServersTransports: map[string]*dynamic.ServersTransport{},
		},
		TCP: &dynamic.TCPConfiguration{
			Routers: map[string]*dynamic.TCPRouter{}, Services: map[string]*dynamic.TCPService{},
			ServersTransports: map[string]*dynamic.TCPServersTransport{},
		},
	}
	return cfg, file.DecodeContent(text, ".yaml", cfg)
}

// Each name leads to its site by plain HTTP and HTTPS, as the site wants it, and no other name to any.
func TestRoutes(t *testing.T) {
	for _, name := range []string{"traefik", "traefik-tls"} {
		text, err := os.ReadFile(filepath.Join(written, name))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := read(t, string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for host, want := range map[string][2]string{ // by web and websecure: where it leads, and through what
			"both.example": {"http://10.77.0.9:8080", "http://10.77.0.9:8080"}, "BOTH.example": {"http://10.77.0.9:8080", "http://10.77.0.9:8080"},
			"plain.example": {"http://10.77.0.9:8080", ""}, "grpc.example": {"h2c://10.77.0.9:8080", "h2c://10.77.0.9:8080"},
			"six.example": {"http://[fd77::9]:8080", "http://[fd77::9]:8080"}, "shop.example": {"https", "http://10.77.0.9:8080"},
			"www.shop.example": {"https", "${1}://shop.example${2}"}, "example": {"${1}://www.example${2}", "${1}://www.example${2}"},
			"through.example": {"https", ""}, "stranger.example": {}, "told.example": {}, "x.both.example": {}, "10.77.0.9": {},
		} {
			for i, point := range []string{"web", "websecure"} {
				if got := leads(t, cfg.HTTP, point, host); got != want[i] {
					t.Errorf("%s: %s by %s leads to %q, want %q", name, host, point, got, want[i])
				}
			}
		}
		if d := cfg.HTTP.ServersTransports["fcnode"].ForwardingTimeouts.DialTimeout; time.Duration(d) != 2*time.Minute {
			t.Errorf("%s: a site has %s to wake", name, time.Duration(d))
		}
		passed(t, cfg.TCP)
	}
}

// leads says to which server a request goes, or where its visitor is sent.
func leads(t *testing.T, cfg *dynamic.HTTPConfiguration, point, host string) (to string) {
	t.Helper()
	parser, err := httpmuxer.NewSyntaxParser()
	if err != nil {
		t.Fatal(err)
	}
	mux := httpmuxer.NewMuxer(parser)
	for id, r := range cfg.Routers {
		if !slices.Contains(r.EntryPoints, point) {
			continue
		}
		if (r.TLS != nil) != (point == "websecure") {
			t.Errorf("router %s has TLS at the wrong entry point", id)
		}
		err := mux.AddRoute(r.Rule, "", 0, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { to = destination(t, cfg, r) }))
		if err != nil {
			t.Errorf("router %s: %v", id, err)
		}
	}
	requestdecorator.New(nil).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://"+host+"/", nil), mux.ServeHTTP)
	return to
}

// destination follows a router through its middlewares.
func destination(t *testing.T, cfg *dynamic.HTTPConfiguration, r *dynamic.Router) string {
	t.Helper()
	for _, name := range r.Middlewares {
		m := cfg.Middlewares[name]
		switch {
		case m == nil:
			t.Errorf("there is no middleware %s", name)
		case m.RedirectScheme != nil:
			return m.RedirectScheme.Scheme
		case m.RedirectRegex != nil:
			return m.RedirectRegex.Replacement
		}
	}
	service := cfg.Services[r.Service]
	if service == nil || cfg.ServersTransports[service.LoadBalancer.ServersTransport] == nil || len(service.LoadBalancer.Servers) != 1 {
		t.Errorf("service %s: %+v", r.Service, service)
		return ""
	}
	if d := time.Duration(service.LoadBalancer.ResponseForwarding.FlushInterval); d >= 0 {
		t.Errorf("answers of %s are kept for %s", r.Service, d)
	}
	return service.LoadBalancer.Servers[0].URL
}

// passed checks the one site whose TLS is passed through.
func passed(t *testing.T, cfg *dynamic.TCPConfiguration) {
	t.Helper()
	for id, r := range cfg.Routers {
		hosts, err := tcpmuxer.ParseHostSNI(r.Rule)
		if err != nil || !slices.Equal(hosts, []string{"through.example"}) || r.TLS == nil || !r.TLS.Passthrough {
			t.Errorf("router %s: %q, %v", id, hosts, err)
		}
		service := cfg.Services[r.Service]
		if service == nil || len(service.LoadBalancer.Servers) != 1 || service.LoadBalancer.Servers[0].Address != "10.77.0.9:443" {
			t.Fatalf("service %s: %+v", r.Service, service)
		}
		transport := cfg.ServersTransports[service.LoadBalancer.ServersTransport]
		if transport == nil || time.Duration(transport.DialTimeout) != 2*time.Minute {
			t.Errorf("the transport of %s: %+v", r.Service, transport)
		}
	}
	if len(cfg.Routers) != 1 {
		t.Errorf("%d routers of TCP", len(cfg.Routers))
	}
}

// The reader is as strict as these tests take it to be.
func TestReaderIsStrict(t *testing.T) {
	for _, text := range []string{
		"http: {routers: {a: {rule: Host(`a.example`), servce: a}}}", "http: {middlewares: {a: {headers: {stsSeconds: much}}}}",
		"tcp: {serversTransports: {a: {dialTimeout: long}}}",
	} {
		if _, err := read(t, text); err == nil {
			t.Errorf("it takes %s", text)
		}
	}
}
