package front

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

const patience = 30 * time.Second

// rig is a gateway that listens on the loopback device, with an authority whose certificate its clients know.
type rig struct {
	*Gateway
	t           testing.TB
	http, https string // addresses
	ca          *authority
	log         *syncBuffer
	dialed      chan string // each address that was dialed to wake a site
	// asleep holds what wakes a site until it is closed.
	asleep chan struct{}
}

type options struct {
	conf  func(*conf.Config)
	names []string      // in the certificate; none: no certificate
	sleep bool          // sites sleep until rig.asleep is closed
	warm  time.Duration // how long a connection that woke a site is kept, 0: as always
	first time.Duration // how long connections may take to their first request where Caddy is configured anew, 0: next to nothing
}

// start runs a gateway for the length of a test. The process has one at a time.
func start(t testing.TB, o options) *rig {
	t.Helper()
	r := &rig{t: t, ca: newAuthority(t), log: &syncBuffer{}, dialed: make(chan string, 1000), asleep: make(chan struct{})}
	if !o.sleep {
		close(r.asleep)
	}
	cfg := conf.Default()
	r.http, r.https = freeAddr(t), freeAddr(t)
	cfg.HTTP, cfg.HTTPS, cfg.StateDir = []string{r.http}, []string{r.https}, t.TempDir()
	if len(o.names) > 0 {
		cfg.Certificates = []conf.Certificate{r.ca.files(t, o.names...)}
	}
	if o.conf != nil {
		o.conf(&cfg)
	}
	g, err := New(cfg, slog.New(slog.NewTextHandler(r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	r.Gateway = g
	g.warmFor = cmp.Or(o.warm, g.warmFor)
	g.firstWithin = cmp.Or(o.first, time.Millisecond) // each test ends a gateway
	direct := g.dial
	g.dial = func(network, addr string) (net.Conn, error) {
		r.dialed <- addr
		<-r.asleep
		return direct(network, addr)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { g.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// freeAddr is an address of the loopback device on which nobody listens, neither by TCP nor by UDP.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no address is free for both TCP and UDP")
	return ""
}

// site puts a site into the table that is served by a handler.
func (r *rig) site(name string, h http.HandlerFunc, change func(*routes.Route)) {
	r.t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	r.t.Cleanup(server.Close)
	r.put(name, server.Listener.Addr(), change)
}

func (r *rig) put(name string, addr net.Addr, change func(*routes.Route)) {
	ap := netip.MustParseAddrPort(addr.String())
	route := routes.Route{Site: name, Domains: []string{name + ".example"}, Addresses: []netip.Addr{ap.Addr()}, Port: int(ap.Port())}
	if change != nil {
		change(&route)
	}
	r.Table.Put(route)
	r.Changed()
}

// client speaks one version of HTTP with the gateway, whatever the host. Redirects are given back.
func (r *rig) client(version string, change ...func(*tls.Config)) *http.Client {
	cfg := &tls.Config{RootCAs: r.ca.pool}
	for _, c := range change {
		c(cfg)
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		to := r.http
		if strings.HasSuffix(addr, ":443") {
			to = r.https
		}
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}
	c := &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	switch version {
	case "1":
		tr := &http.Transport{DialContext: dial, TLSClientConfig: cfg}
		c.Transport = tr
		r.t.Cleanup(tr.CloseIdleConnections)
	case "2":
		only := new(http.Protocols)
		only.SetHTTP2(true)
		tr := &http.Transport{DialContext: dial, TLSClientConfig: cfg, Protocols: only}
		c.Transport = tr
		r.t.Cleanup(tr.CloseIdleConnections)
	case "3":
		tr := &http3.Transport{TLSClientConfig: cfg, Dial: func(ctx context.Context, _ string, t *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, r.https, t, q)
		}}
		c.Transport = tr
		r.t.Cleanup(func() { tr.Close() })
	}
	return c
}

type reply struct {
	status int
	header http.Header
	body   string
}

// ask makes one request, which must be answered.
func (r *rig) ask(c *http.Client, url string, headers ...string) reply {
	r.t.Helper()
	return r.do(c, http.MethodGet, url, nil, headers...)
}

func (r *rig) do(c *http.Client, method, url string, body io.Reader, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", method, url, err, r.log)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// echo answers with what the site sees of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-Ip", "X-Client-Subject"} {
		w.Header()["Saw-"+name] = r.Header[name]
	}
	w.Header()["Saw-Transfer-Encoding"] = r.TransferEncoding
	w.Header().Set("Saw-Proto", r.Proto)
	w.Header().Set("Saw-Host", r.Host)
	w.Header().Set("Saw-Uri", r.RequestURI)
	_, _ = w.Write(append([]byte("body:"), body...))
}

// nobody fails the test if any site was dialed.
func (r *rig) nobody(t testing.TB, who string) {
	t.Helper()
	select {
	case addr := <-r.dialed:
		t.Errorf("%s woke %s", who, addr)
	default:
	}
}

// receive waits for something to happen.
func receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.file = writePEM(t, "CERTIFICATE", der)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for these names, which clients can show as well.
func (a *authority) issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) files(t testing.TB, names ...string) conf.Certificate {
	t.Helper()
	cert := a.issue(t, names...)
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return conf.Certificate{Certificate: writePEM(t, "CERTIFICATE", cert.Certificate[0]), Key: writePEM(t, "PRIVATE KEY", der)}
}

func writePEM(t testing.TB, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func portNumber(t testing.TB, addr string) int {
	t.Helper()
	_, text, _ := net.SplitHostPort(addr)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
