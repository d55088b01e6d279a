package front

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// pebble is a real ACME authority, which looks for the domains on these ports of the loopback device.
func pebble(t *testing.T, httpPort, tlsPort int) (directory, roots string, pool *x509.CertPool, requests *syncBuffer) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	requests = &syncBuffer{}
	logger := log.New(requests, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(logger, store, va.New(logger, httpPort, tlsPort, false, nameServer(t), store), issuer, nil, false, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	root := httptest.NewRecorder()
	front.ManagementHandler().ServeHTTP(root, httptest.NewRequest(http.MethodGet, wfe.RootCertPath+"0", nil))
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root.Body.Bytes()) {
		t.Fatalf("the root of the authority: %d %s", root.Code, root.Body)
	}
	roots = filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL + wfe.DirectoryPath, roots, pool, requests
}

// nameServer says that all names are here, as the authority asks: by TCP.
func nameServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerNames(c)
		}
	}()
	return l.Addr().String()
}

func answerNames(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		text := make([]byte, binary.BigEndian.Uint16(size[:]))
		var m dnsmessage.Message
		if _, err := io.ReadFull(c, text); err != nil || m.Unpack(text) != nil || len(m.Questions) != 1 {
			return
		}
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		out, err := m.AppendPack(make([]byte, 2, 512))
		if err != nil {
			return
		}
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// A certificate is issued when a domain of a site is first asked for, by either challenge, and for no other name. Neither the
// authority nor a name that no site has wakes anything.
func TestACME(t *testing.T) {
	for _, challenge := range []string{"HTTP-01", "TLS-ALPN-01"} {
		t.Run(challenge, func(t *testing.T) {
			httpAddr, httpsAddr := freeAddr(t), freeAddr(t)
			httpPort, tlsPort := portNumber(t, httpAddr), portNumber(t, httpsAddr)
			authorityHTTP, authorityTLS := httpPort, tlsPort
			if challenge == "HTTP-01" {
				authorityTLS = portNumber(t, freeAddr(t)) // where nobody answers, so that it is this challenge or none
			} else {
				authorityHTTP = portNumber(t, freeAddr(t))
			}
			directory, roots, pool, requests := pebble(t, authorityHTTP, authorityTLS)
			r := start(t, options{conf: func(c *conf.Config) {
				c.HTTP, c.HTTPS = []string{httpAddr}, []string{httpsAddr}
				c.ACME = &conf.ACME{Directory: directory, Roots: roots, HTTPPort: httpPort, TLSPort: tlsPort}
			}})
			r.http, r.https = httpAddr, httpsAddr
			// Even where plain HTTP is sent to HTTPS, the authority is answered.
			r.site("a", echo, func(r *routes.Route) { r.HTTPS = routes.Redirect })
			r.site("off", echo, func(r *routes.Route) { r.HTTPS = routes.Off })
			for _, name := range []string{"stranger.example", "off.example", ""} {
				if _, err := tls.Dial("tcp", r.https, &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}); err == nil { //nolint:gosec // the handshake is to fail
					t.Errorf("%q got a certificate", name)
				}
			}
			if strings.Contains(requests.String(), "/order-plz") {
				t.Errorf("the authority was asked for a name that no site has:\n%s", requests)
			}
			r.nobody(t, "a name that no site has")
			c := r.client("2", func(c *tls.Config) { c.RootCAs = pool })
			got := r.ask(c, "https://a.example/")
			if got.status != 200 {
				t.Errorf("%d\n%s", got.status, requests)
			}
			receive(t, "the visitor's handshake to wake the site", r.dialed)
			r.nobody(t, "the authority")
		})
	}
}

// acme starts an authority, and a gateway that gets its certificates from it. Without a way the authority finds no domain.
func acme(t *testing.T, way bool, prepare func(storage string)) (r *rig, visitor func() *http.Client, orders func() int) {
	t.Helper()
	httpAddr, httpsAddr := freeAddr(t), freeAddr(t)
	httpPort, tlsPort := portNumber(t, httpAddr), portNumber(t, httpsAddr)
	looksAt := []int{httpPort, tlsPort}
	if !way {
		looksAt = []int{portNumber(t, freeAddr(t)), portNumber(t, freeAddr(t))}
	}
	directory, roots, pool, requests := pebble(t, looksAt[0], looksAt[1])
	r = start(t, options{conf: func(c *conf.Config) {
		c.HTTP, c.HTTPS = []string{httpAddr}, []string{httpsAddr}
		c.ACME = &conf.ACME{Directory: directory, Roots: roots, HTTPPort: httpPort, TLSPort: tlsPort}
		if prepare != nil {
			prepare(filepath.Join(c.StateDir, "certificates"))
		}
	}})
	r.http, r.https = httpAddr, httpsAddr
	visitor = func() *http.Client { return r.client("1", func(c *tls.Config) { c.RootCAs = pool }) }
	return r, visitor, func() int { return strings.Count(requests.String(), "/order-plz") }
}

// fails visits a site that has no certificate.
func fails(t *testing.T, c *http.Client, url string) {
	t.Helper()
	if resp, err := c.Get(url); err == nil {
		resp.Body.Close()
		t.Errorf("%s answers %s", url, resp.Status)
	}
}

// A domain that the authority does not find is tried once, by each challenge, however many visit, and costs no other domain
// anything. After a reload it may be tried again.
func TestACMEFailuresRest(t *testing.T) {
	r, visitor, orders := acme(t, false, nil)
	r.site("a", echo, nil)
	r.site("b", echo, nil)
	fails(t, visitor(), "https://a.example/")
	once := orders()
	for range 3 {
		fails(t, visitor(), "https://a.example/")
	}
	if n := orders(); n != once || once == 0 {
		t.Errorf("%d orders for a domain that is not found, then %d", once, n-once)
	}
	if r.rests.left("a.example") <= 0 || r.rests.left("b.example") > 0 {
		t.Errorf("a rests for %s, b for %s", r.rests.left("a.example"), r.rests.left("b.example"))
	}
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if left := r.rests.left("a.example"); left > 0 {
		t.Errorf("after a reload it rests for %s", left)
	}
}

func TestRestsGrow(t *testing.T) {
	var r rests
	for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		r.note("a", false)
		if left := r.left("a"); left > want || left < want-time.Second*30 {
			t.Errorf("it rests for %s, want %s", left, want)
		}
	}
	if r.left("b") > 0 {
		t.Error("another name rests as well")
	}
	r.note("a", true)
	if r.left("a") > 0 {
		t.Error("it rests after a success")
	}
}

// Where certificates cannot be stored, as on a disk that is full, none is ordered; sites are served by plain HTTP, and by HTTPS as
// soon as there is room.
func TestACMEWithoutRoom(t *testing.T) {
	var storage string
	r, visitor, orders := acme(t, true, func(at string) {
		storage = at
		if err := os.WriteFile(at, nil, 0o600); err != nil { // no folder, even for root
			t.Fatal(err)
		}
	})
	r.site("a", echo, nil)
	for range 3 {
		fails(t, visitor(), "https://a.example/")
	}
	if got := r.ask(visitor(), "http://a.example/"); got.status != 200 {
		t.Errorf("plain HTTP: %d", got.status)
	}
	if n := orders(); n != 0 {
		t.Errorf("%d orders of certificates that cannot be stored", n)
	}
	if err := os.Remove(storage); err != nil {
		t.Fatal(err)
	}
	if got := r.ask(visitor(), "https://a.example/"); got.status != 200 {
		t.Errorf("with room: %d\n%s", got.status, r.log)
	}
}

// A gateway that was killed while it got certificates leaves locks, fresh ones and torn ones. The next gets the certificates at once.
func TestACMEAfterAKill(t *testing.T) {
	r, visitor, _ := acme(t, true, func(storage string) {
		now := time.Now().Add(time.Hour).Format(time.RFC3339Nano) // as if it would never age
		for path, text := range map[string]string{
			"locks/issue_cert_fresh.example.lock": `{"created":"` + now + `","updated":"` + now + `"}`,
			"locks/issue_cert_torn.example.lock":  "\x00\x00\x00\x00",
			"locks/issue_cert_empty.example.lock": "",
		} {
			path = filepath.Join(storage, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	})
	var visitors sync.WaitGroup
	for _, name := range []string{"fresh", "torn", "empty"} {
		r.site(name, echo, nil)
		c := visitor()
		visitors.Go(func() {
			if resp, err := c.Get("https://" + name + ".example/"); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if resp.Body.Close(); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", name, resp.Status)
			}
		})
	}
	visitors.Wait()
}
