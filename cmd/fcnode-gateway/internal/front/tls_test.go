package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// With passthrough the site's own certificate reaches the visitor, and, if it likes, the visitor's address the site.
func TestPassthrough(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.site("a", echo, nil)
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by %s", r.Host, r.Proto)
	}))
	own := newAuthority(t)
	site.TLS = &tls.Config{Certificates: []tls.Certificate{own.issue(t, "through.example")}}
	site.EnableHTTP2 = true
	site.StartTLS()
	t.Cleanup(site.Close)
	r.put("through", site.Listener.Addr(), func(r *routes.Route) { r.HTTPS = routes.Passthrough })
	addr := make(chan string, 1)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go func() {
		c, err := raw.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 12+4)
		_, _ = io.ReadFull(c, buf)
		addr <- string(buf[:12])
	}()
	r.put("told", raw.Addr(), func(r *routes.Route) { r.HTTPS, r.ProxyProtocol = routes.Passthrough, "v2" })
	waitShape(t, r, func(s shape) bool { return s.passthrough })

	c := r.client("2", func(c *tls.Config) { c.RootCAs = own.pool })
	for range 3 {
		if got := r.ask(c, "https://through.example/"); got.body != "through.example by HTTP/2.0" {
			t.Errorf("%d %q", got.status, got.body)
		}
	}
	if got := r.ask(r.client("1"), "http://through.example/x"); got.status != 308 || !strings.HasPrefix(got.header.Get("Location"), "https://through.example") {
		t.Errorf("plain HTTP got %d, %s", got.status, got.header.Get("Location"))
	}
	// Others are served as before, behind the same address.
	if got := r.ask(r.client("2"), "https://a.example/"); got.status != 200 {
		t.Errorf("the other site: %d", got.status)
	}
	conn, err := net.Dial("tcp", r.https)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = tls.Client(conn, &tls.Config{ServerName: "told.example"}).Handshake() //nolint:gosec // it fails: the site only looks at the first bytes
		conn.Close()
	}()
	if got := receive(t, "the visitor's address", addr); got != "\r\n\r\n\x00\r\nQUIT\n" {
		t.Errorf("the site got %q", got)
	}
	// A site that is down costs the visitor the connection, and nobody else anything.
	site.Close()
	if resp, err := r.client("2", func(c *tls.Config) { c.RootCAs = own.pool }).Get("https://through.example/"); err == nil {
		resp.Body.Close()
		t.Error("a site that is down answers")
	}
}

// waitShape waits until Caddy is configured as the sites want it.
func waitShape(t *testing.T, r *rig, ok func(shape) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r.mu.Lock()
		s := r.shape
		r.mu.Unlock()
		if ok(s) {
			return
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing announces it
	}
	t.Fatalf("the configuration is not what the sites want\n%s", r.log)
}

func TestClientCertificates(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "strict.example", "lax.example"}})
	own, other := newAuthority(t), newAuthority(t)
	r.site("a", echo, nil)
	r.site("strict", echo, func(r *routes.Route) { r.ClientCA = own.file })
	r.site("lax", echo, func(r *routes.Route) { r.ClientCA, r.ClientOptional = own.file, true })
	r.site("broken", echo, func(r *routes.Route) { r.ClientCA = "/nowhere" })
	waitShape(t, r, func(s shape) bool { return len(s.clientAuth) == 2 })
	show := func(cert tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }
	}
	good, bad := own.issue(t, "visitor"), other.issue(t, "visitor")
	for _, version := range []string{"1", "2", "3"} {
		for host, want := range map[string]string{"strict": "CN=visitor", "lax": "CN=visitor", "a": ""} {
			got := r.ask(r.client(version, show(good)), "https://"+host+".example/")
			if subject := got.header.Get("Saw-X-Client-Subject"); got.status != 200 || subject != want {
				t.Errorf("version %s, %s: %d, subject %q", version, host, got.status, subject)
			}
		}
		if got := r.ask(r.client(version), "https://lax.example/"); got.status != 200 || got.header.Get("Saw-X-Client-Subject") != "" {
			t.Errorf("version %s: without a certificate %d", version, got.status)
		}
		for name, c := range map[string]*http.Client{"strict": r.client(version), "lax": r.client(version, show(bad)), "broken": r.client(version)} {
			if resp, err := c.Get("https://" + name + ".example/"); err == nil {
				resp.Body.Close()
				t.Errorf("version %s: %s lets anybody in (%d)", version, name, resp.StatusCode)
			}
		}
		// Nor does a connection that was made for another site.
		c := r.client(version, func(c *tls.Config) { c.ServerName = "a.example" })
		if got := r.ask(c, "https://strict.example/"); got.status != http.StatusMisdirectedRequest {
			t.Errorf("version %s: over another site's connection %d", version, got.status)
		}
	}
	if got := r.ask(r.client("1"), "http://strict.example/"); got.status != 308 {
		t.Errorf("plain HTTP got %d", got.status)
	}
	if !strings.Contains(r.log.String(), "not served\" site=broken") {
		t.Errorf("nothing is said about the site whose authorities are missing:\n%s", r.log)
	}
}

// What a site asks of its visitors counts for connections, too, that were made before it asked, and for those that take up a session
// of another site's.
func TestClientCertificatesLater(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "b.example"}, conf: func(c *conf.Config) {
		c.Trusted.Headers = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	}})
	own, other := newAuthority(t), newAuthority(t)
	ask := func(ca string) func(*routes.Route) { return func(r *routes.Route) { r.ClientCA = ca } }
	r.site("b", echo, ask(other.file))
	r.site("b2", echo, ask(own.file)) // so that both authorities are known already, and nothing else changes
	waitShape(t, r, func(s shape) bool { return len(s.clientAuth) == 2 })
	// Where the connection has ended meanwhile, the next handshake fails.
	refused := func(c *http.Client, how string) {
		t.Helper()
		resp, err := c.Get("https://a.example/")
		if err != nil {
			return
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: %s", how, resp.Status)
		}
	}
	show := func(by *authority) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{by.issue(t, "visitor of "+by.file)} }
	}
	for _, version := range []string{"1", "2", "3"} {
		r.site("a", echo, nil)
		anybody := r.client(version)
		resp, err := anybody.Get("https://a.example/")
		if errors.Is(err, io.EOF) { // by a server of the configuration before, as tests give connections no time for their first request then
			resp, err = anybody.Get("https://a.example/")
		}
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Fatalf("version %s: before it asks %s", version, resp.Status)
		}
		r.site("a", echo, ask(own.file))
		refused(anybody, "over a connection from before it asked, version "+version)
		known := r.client(version, show(own))
		if got := r.ask(known, "https://a.example/"); got.status != 200 {
			t.Errorf("version %s: with a certificate %d", version, got.status)
		}
		r.site("a", echo, ask(other.file))
		refused(known, "with a certificate of the authority before, version "+version)
		// A session of a.example, where another authority's certificate was shown.
		session := tls.NewLRUClientSessionCache(1)
		resumes := func(by *authority, name string) func(*tls.Config) {
			return func(c *tls.Config) {
				show(by)(c)
				c.ClientSessionCache, c.ServerName = oneSession{session}, name
			}
		}
		if got := r.ask(r.client(version, resumes(other, "a.example")), "https://a.example/"); got.status != 200 {
			t.Errorf("version %s: %d", version, got.status)
		}
		r.site("b", echo, ask(own.file))
		resp, err = r.client(version, func(c *tls.Config) { resumes(other, "b.example")(c); c.Certificates = nil }).Get("https://b.example/")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Errorf("version %s: a session of another site lets anybody in", version)
			}
		}
		r.site("b", echo, ask(other.file))
	}
	// A front end that is trusted shows no certificate.
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: b.example\r\nX-Forwarded-Proto: https\r\nX-Client-Subject: CN=root\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("by a front end: %s", resp.Status)
	}
}

// oneSession gives a session to whoever asks, for whatever name.
type oneSession struct{ tls.ClientSessionCache }

func (c oneSession) Get(string) (*tls.ClientSessionState, bool) { return c.ClientSessionCache.Get("") }
func (c oneSession) Put(_ string, s *tls.ClientSessionState)    { c.ClientSessionCache.Put("", s) }

func TestNamesAndRedirects(t *testing.T) {
	names := []string{"b.example", "www.b.example", "xn--bcher-kva.example", "off.example", "both.example"}
	r := start(t, options{names: names})
	r.site("b", echo, func(r *routes.Route) { r.HTTPS, r.WWW, r.HSTSNs = routes.Redirect, "apex", 720*time.Hour })
	r.site("c", echo, func(r *routes.Route) { r.HTTPS, r.WWW = routes.Both, "www" })
	r.site("i", echo, func(r *routes.Route) { r.Domains = []string{"xn--bcher-kva.example"} })
	r.site("off", echo, func(r *routes.Route) { r.HTTPS = routes.Off })
	https := fmt.Sprintf(":%d", portNumber(t, r.https))
	plain := fmt.Sprintf(":%d", portNumber(t, r.http))
	for _, c := range []struct {
		url      string
		status   int
		location string
	}{
		{"http://b.example/x?y", 308, "https://b.example" + https + "/x?y"},
		{"http://www.b.example/x", 308, "https://b.example" + https + "/x"},
		{"https://www.b.example/", 308, "https://b.example" + https + "/"},
		{"https://b.example/", 200, ""},
		{"http://c.example/", 308, "http://www.c.example" + plain + "/"},
		{"http://WWW.C.Example/", 200, ""},
		{"https://xn--bcher-kva.example/", 200, ""},
		{"http://xn--bcher-kva.example/", 200, ""},
		{"http://off.example/", 200, ""},
		{"http://stranger.example/", 404, ""},
	} {
		got := r.ask(r.client("1"), c.url)
		if got.status != c.status || got.header.Get("Location") != c.location {
			t.Errorf("%s: %d to %q, want %d to %q", c.url, got.status, got.header.Get("Location"), c.status, c.location)
		}
		hsts := ""
		if c.url == "https://b.example/" {
			hsts = "max-age=2592000"
		}
		if got := got.header.Get("Strict-Transport-Security"); got != hsts {
			t.Errorf("%s: HSTS %q, want %q", c.url, got, hsts)
		}
	}
	// What is no path never becomes a part of the name.
	for _, target := range []string{"x:.evil.example/", "*"} {
		conn, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "OPTIONS %s HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n", target)
		_ = conn.SetDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		conn.Close()
		if got := resp.Header.Get("Location"); got != "" && got != "https://b.example"+https+"/" {
			t.Errorf("%s leads to %s", target, got)
		}
	}
	// As some programs send it.
	req, _ := http.NewRequest(http.MethodGet, "http://xn--bcher-kva.example/", nil)
	req.Host = "bücher.example"
	resp, err := r.client("1").Do(req)
	if err != nil {
		t.Fatalf("a name in Unicode: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a name in Unicode: %s", resp.Status)
	}
}

// Names that no site has get a clean refusal and wake nothing; nor do others than those for which a handshake was made.
func TestUnknownNames(t *testing.T) {
	r := start(t, options{names: []string{"a.example", "off.example"}, sleep: true})
	r.site("a", echo, nil)
	r.site("off", echo, func(r *routes.Route) { r.HTTPS = routes.Off })
	for _, version := range []string{"1", "2", "3"} {
		c := r.client(version, func(c *tls.Config) { c.ServerName = "a.example" })
		for len(r.dialed) > 0 {
			<-r.dialed
		}
		for _, host := range []string{"stranger.example", "off.example"} {
			if got := r.ask(c, "https://"+host+"/"); got.status != http.StatusMisdirectedRequest {
				t.Errorf("version %s, %s: %d", version, host, got.status)
			}
		}
	}
	if got := r.ask(r.client("1"), "http://"+r.http+"/"); got.status != 404 || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("an address: %d", got.status)
	}
	off := r.client("2", func(c *tls.Config) { c.ServerName = "off.example" })
	if resp, err := off.Get("https://off.example/"); err == nil {
		resp.Body.Close()
		t.Error("a site without HTTPS has a handshake")
	}
	want := 0
	for range len(r.dialed) { // but for a.example, whose name the handshakes said
		if addr := <-r.dialed; addr != upstreamAddr(r, "a.example") {
			want++
		}
	}
	if want > 0 {
		t.Errorf("%d sites were woken by nobody's requests", want)
	}
	close(r.asleep)
}

func upstreamAddr(r *rig, name string) string {
	e, _ := r.Table.Lookup(name)
	return e.Site.Upstream()
}

// The site is being woken while the handshake goes on: the visitor does not even finish it before the site was asked for.
func TestWakeBeginsWithTheClientHello(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, sleep: true})
	var visits syncBuffer
	r.site("a", func(w http.ResponseWriter, req *http.Request) { fmt.Fprintln(&visits, req.RemoteAddr); echo(w, req) }, nil)
	for _, version := range []string{"2", "3"} {
		for len(r.dialed) > 0 {
			<-r.dialed
		}
		woken := false
		c := r.client(version, func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error {
				if !woken && version == "2" {
					receive(t, "the wake", r.dialed)
					woken = true
					close(r.asleep)
				}
				return nil
			}
		})
		if got := r.ask(c, "https://a.example/"); got.status != 200 {
			t.Fatalf("version %s: %d", version, got.status)
		}
	}
	// The connection that woke the site carried the first request.
	first, _, _ := strings.Cut(visits.String(), "\n")
	if n := strings.Count(visits.String(), "\n"); n != 2 || first == "" {
		t.Errorf("visits: %q", visits.String())
	}
}

// A handshake over QUIC wakes the site as well.
func TestWakeByQUIC(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, sleep: true})
	r.site("a", echo, nil)
	r.client("3")
	c := r.client("3", func(c *tls.Config) {
		c.VerifyConnection = func(tls.ConnectionState) error {
			receive(t, "the wake", r.dialed)
			close(r.asleep)
			return nil
		}
	})
	if got := r.ask(c, "https://a.example/"); got.status != 200 {
		t.Fatal(got.status)
	}
}

// Nothing is asked of a site over a connection that nobody used: it is closed after a while, and the site may sleep.
func TestUnusedConnectionIsClosed(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, warm: 100 * time.Millisecond})
	closed := make(chan error, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			var text []byte
			if text, err = io.ReadAll(c); len(text) > 0 {
				err = fmt.Errorf("it got %q", bytes.TrimSpace(text))
			}
			c.Close()
		}
		closed <- err
	}()
	r.put("a", l.Addr(), nil)
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example"}}).DialContext(context.Background(), "tcp", r.https)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := receive(t, "the end of the connection", closed); err != nil {
		t.Error(err)
	}
	if u := upstreamOf(r.Table.Sites()[0]); u.begin(l.Addr().String()) == nil {
		t.Error("a connection that is closed still counts")
	}
}
