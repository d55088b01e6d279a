package front

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

const html = "text/html,application/xhtml+xml,*/*;q=0.8"

// A browser's navigation gets the page after a while, and the site all the same once it is awake; all others are held, and
// nobody wakes the site twice.
func TestWaitingPage(t *testing.T) {
	r := start(t, options{sleep: true, conf: func(c *conf.Config) { c.Wake.Page = 50 * time.Millisecond }})
	r.site("a", echo, func(r *routes.Route) { r.WaitingPage = true })
	r.site("plain", echo, nil)
	got := r.ask(r.client("1"), "http://a.example/", "Accept", html, "Sec-Fetch-Mode", "navigate")
	if got.status != 503 || got.header.Get("Retry-After") != "2" || got.header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(got.body, `<meta http-equiv="refresh" content="2">`) || !strings.Contains(got.body, "a.example is starting") {
		t.Errorf("the page: %d %v\n%s", got.status, got.header, got.body)
	}
	held := map[string][]string{
		"GET of a program": {"http://a.example/", "Accept", "*/*"},
		"GET of a script":  {"http://a.example/", "Accept", html, "Sec-Fetch-Mode", "cors"},
		"older script":     {"http://a.example/", "Accept", html, "X-Requested-With", "XMLHttpRequest"},
		"POST of a form":   {"http://a.example/", "Accept", html},
		"without a page":   {"http://plain.example/", "Accept", html},
	}
	var visitors sync.WaitGroup
	for name, how := range held {
		method := http.MethodGet
		if strings.HasPrefix(name, "POST") {
			method = http.MethodPost
		}
		visitors.Go(func() {
			if got := r.do(r.client("1"), method, how[0], strings.NewReader(""), how[1:]...); got.status != 200 {
				t.Errorf("%s: %d instead of being held", name, got.status)
			}
		})
	}
	receive(t, "the wake of a", r.dialed)
	receive(t, "the wake of plain", r.dialed)
	// Another page in the meantime, so that all of them have been waiting for longer than it takes to get one.
	if got := r.ask(r.client("1"), "http://a.example/", "Accept", html); got.status != 503 {
		t.Errorf("the page again: %d", got.status)
	}
	r.nobody(t, "the second visitor of a site that is waking")
	close(r.asleep)
	visitors.Wait()
	if got := r.ask(r.client("1"), "http://a.example/", "Accept", html); got.status != 200 {
		t.Errorf("once it is awake: %d", got.status)
	}
}

// A site that cannot be started gets a clean page, and the log says which and what to ask.
func TestUnavailable(t *testing.T) {
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, "unavailable.html"), []byte("sorry, {{.Host}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, options{conf: func(c *conf.Config) { c.Pages = own }})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	r.put("a", dead.Addr(), func(r *routes.Route) { r.WaitingPage = true })
	r.put("b", dead.Addr(), nil)
	r.put("none", dead.Addr(), func(r *routes.Route) { r.Port = 0 })
	for _, host := range []string{"a.example", "b.example", "none.example"} {
		got := r.ask(r.client("1"), "http://"+host+"/", "Accept", html)
		if got.status != 503 || got.body != "sorry, "+host || got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", host, got.status, got.body, got.header)
		}
		if got := r.ask(r.client("1"), "http://"+host+"/"); got.status != 503 || strings.Contains(got.body, "sorry") {
			t.Errorf("%s to a program: %d %q", host, got.status, got.body)
		}
	}
	if text := r.log.String(); !strings.Contains(text, "fcnode events --site a") || !strings.Contains(text, "connection refused") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	// It is served as soon as it can be.
	r.site("a", echo, nil)
	if got := r.ask(r.client("1"), "http://a.example/"); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
}

// Of an answer that a site does not end the visitor gets what there is, and sees that it is not all; the log says whose it was.
func TestCutOff(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.site("a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, nil)
	for i, version := range []string{"1", "2", "3"} {
		resp, err := r.client(version).Get("https://a.example/")
		if err == nil { // the end of a stream may overtake its begin
			var text []byte
			text, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(text) != "half" {
				t.Errorf("version %s: %q", version, text)
			}
		}
		if err == nil {
			t.Errorf("version %s: the answer is whole", version)
		}
		if n := strings.Count(r.log.String(), "an answer was cut off"); n != i+1 {
			t.Errorf("version %s: the log tells of %d answers:\n%s", version, n, r.log)
		}
	}
}

func TestPagesOfTheOperator(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"{{.Host", "{{.Nothing}}"} {
		if err := os.WriteFile(filepath.Join(dir, "waiting.html"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadPages(dir); err == nil || !strings.Contains(err.Error(), "waiting.html") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Requests of monitors wake nothing; while a visitor is there they reach the site, and open no connection of their own.
func TestIgnored(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Wake.KeepAlive = time.Hour }})
	r.site("a", echo, func(r *routes.Route) {
		r.Ignore = &routes.Ignore{UserAgents: []string{"monitor"}, Paths: []string{"/up"}, Status: 202}
	})
	monitors := func(want int) {
		t.Helper()
		for _, version := range []string{"1", "2"} {
			if got := r.ask(r.client(version), "https://a.example/up"); got.status != want {
				t.Errorf("a path: %d, want %d", got.status, want)
			}
			if got := r.ask(r.client(version), "https://a.example/", "User-Agent", "Some Monitor/1"); got.status != want {
				t.Errorf("an agent: %d, want %d", got.status, want)
			}
		}
	}
	monitors(202)
	r.nobody(t, "a monitor")
	if got := r.ask(r.client("2"), "https://a.example/"); got.status != 200 {
		t.Errorf("a visitor: %d", got.status)
	}
	receive(t, "the visitor's wake", r.dialed)
	monitors(200)
	r.nobody(t, "a monitor beside a visitor")
}

// However often monitors ask, over the connection that a visitor has left, they do not keep it and with it the site.
func TestIgnoredDoNotCount(t *testing.T) {
	r := start(t, options{conf: func(c *conf.Config) { c.Wake.KeepAlive, c.Limits.Rate = 200*time.Millisecond, 0 }})
	r.site("a", echo, func(r *routes.Route) { r.Ignore = &routes.Ignore{Paths: []string{"/up"}} })
	if got := r.ask(r.client("1"), "http://a.example/"); got.status != 200 {
		t.Fatalf("a visitor: %d", got.status)
	}
	monitor, u := r.client("1"), upstreamOf(r.Table.Sites()[0])
	for deadline := time.Now().Add(patience); ; {
		got := r.ask(monitor, "http://a.example/up")
		u.mu.Lock()
		open := u.open
		u.mu.Unlock()
		if open == 0 && got.status == http.StatusNoContent {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections to the site, and a monitor gets %d", open, got.status)
		}
	}
}
