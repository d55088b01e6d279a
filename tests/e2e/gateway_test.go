package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// nobody is who the gateway runs as in tests: neither root nor a member of a group with rights.
const nobody = 65534

// shared is the address of the machine that visitors of all sites use.
const shared = "198.51.100.1"

// private is another, from which the gateway reaches sites.
const private = "10.255.255.1"

// routes is the socket of the node's routes.
func (n *node) routes() string { return config.RoutesSocket(strings.TrimSuffix(n.run(""), "/")) }

// certificate makes one for these names, and says what knows it.
func (n *node) certificate(names ...string) (certFile, keyFile string, pool *x509.CertPool) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		n.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	certFile = n.write("cert.pem", string(text))
	return certFile, n.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))), pool
}

// background starts a program on the node's machine as somebody, and returns what ends it and waits.
func (n *node) background(cmd *exec.Cmd, uid uint32, caps ...uintptr) (stop func()) {
	n.t.Helper()
	log, err := os.Create(n.path(filepath.Base(cmd.Path) + ".log"))
	if err != nil {
		n.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	// In a group of its own: Apache ends all of its group with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, AmbientCaps: caps, Setpgid: true}
	n.ns.Start(n.t, cmd)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if n.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			n.t.Logf("%s said:\n%s", cmd.Path, text)
		}
		log.Close()
	}
	n.t.Cleanup(stop)
	return stop
}

// gateway starts the gateway on the node's shared address, as nobody, and waits until it listens.
func (n *node) gateway(certFile, keyFile string) (stop func()) {
	n.t.Helper()
	state := n.path("gateway")
	config := n.write("gateway.yaml", fmt.Sprintf(`
http: ["%[1]s:80"]
https: ["%[1]s:443"]
source: %[6]s
routes: %[2]s
stateDir: %[3]s
certificates: [{certificate: %[4]s, key: %[5]s}]
`, shared, n.routes(), state, certFile, keyFile, private))
	err := errors.Join(os.MkdirAll(state, 0o700), os.Chown(state, nobody, nobody), os.Chmod(filepath.Dir(n.dir), 0o711)) //nolint:gosec // only to be passed through
	if err != nil {
		n.t.Fatal(err)
	}
	stop = n.background(exec.Command(testutil.Program(n.t, "fcnode-gateway"), "--config", config), nobody, unix.CAP_NET_BIND_SERVICE)
	n.listening(80)
	return stop
}

// listening waits until somebody listens on a port of the shared address.
func (n *node) listening(port uint16) {
	n.t.Helper()
	testutil.WaitFor(n.t, patience, fmt.Sprintf("somebody to listen on port %d", port), func() error {
		c, err := n.outside.connect(netip.AddrPortFrom(netip.MustParseAddr(shared), port))
		if err == nil {
			c.Close()
		}
		return err
	})
}

// forged are headers by which a visitor claims to be another.
var forged = []string{
	"X-Forwarded-For", "203.0.113.66", "X-Real-Ip", "203.0.113.66", "Forwarded", "for=203.0.113.66;proto=gopher", "X-Forwarded-Proto", "gopher",
	"X-Forwarded-Host", "203.0.113.66", "X-Client-Subject", "CN=203.0.113.66", "X_Forwarded_For", "203.0.113.66", "X_Real_IP", "203.0.113.66",
}

// tellsWho checks that a site is told who visits by either scheme, and that the visitor has no say in it.
func (n *node) tellsWho(pool *x509.CertPool, host string) {
	n.t.Helper()
	for _, scheme := range []string{"http", "https"} {
		status, body, err := n.outside.visit(pool, scheme+"://"+host+"/headers", forged...)
		if err != nil || status != http.StatusOK || strings.Contains(body, "203.0.113.66") || strings.Contains(body, "gopher") {
			n.t.Errorf("by %s: %d, %v; a visitor who claims to be another is\n%s", scheme, status, err, body)
		}
		for _, want := range []string{"Host: " + host, "X-Forwarded-For: 198.51.100.2", "X-Forwarded-Proto: " + scheme} {
			if !strings.Contains(body, want+"\r\n") {
				n.t.Errorf("by %s the site is not told %q, but\n%s", scheme, want, body)
			}
		}
	}
}

// visit asks for a page on the shared address, by a connection of its own. headers are names and values.
func (c *client) visit(pool *x509.CertPool, url string, headers ...string) (status int, body string, err error) {
	h := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(addr)
				return c.dial(ctx, network, net.JoinHostPort(shared, port))
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       testutil.Timeout(patience),
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// expect checks an answer on the shared address.
func (n *node) expect(pool *x509.CertPool, url string, want int) {
	n.t.Helper()
	if status, body, err := n.outside.visit(pool, url); err != nil || status != want {
		n.t.Errorf("%s: %d %q, %v; want %d", url, status, body, err, want)
	}
}

// A site that sleeps behind the gateway wakes by Host and by SNI, and by no other name; the gateway serves on while the
// daemon is dead, starts without it, and learns of changes from the next one.
func TestRootGateway(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{more: "routes: {group: nogroup}"})
	n.ns.Run(t, "ip", "address", "add", private+"/32", "dev", "lo")
	n.machine = n.look()
	n.start()
	s := n.deploy("blog", "domains: [blog.example]", "gateway: {https: both}")
	n.deploy("off", "domains: [off.example]", "gateway: {https: off}")
	certFile, keyFile, pool := n.certificate("blog.example", "shop.example")
	stop := n.gateway(certFile, keyFile)
	n.known(pool, "http://blog.example/")
	s.park()
	mark := n.mark()
	for _, url := range []string{"http://other.example/", "http://" + shared + "/"} {
		n.expect(pool, url, http.StatusNotFound)
	}
	if _, _, err := n.outside.visit(pool, "https://off.example/"); err == nil {
		t.Error("a site without HTTPS has a handshake")
	}
	if got := s.starts(mark); got != 0 {
		t.Errorf("%d starts for names that the site has not", got)
	}
	n.expect(pool, "http://blog.example/", http.StatusOK)
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts for a visit by Host: %q", got, s.story(mark))
	}
	n.tellsWho(pool, "blog.example")

	// By the SNI alone: no request is made until the site runs.
	s.park()
	mark = n.mark()
	raw, err := n.outside.connect(netip.MustParseAddrPort(shared + ":443"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "blog.example"})
	if err := conn.HandshakeContext(n.ctx()); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, patience, "the site to run", func() error {
		if v := s.get(); v.Phase != api.PhaseRunning {
			return errors.New(string(v.Phase))
		}
		return nil
	})
	if got := s.starts(mark); got != 1 {
		t.Errorf("%d starts for a handshake: %q", got, s.story(mark))
	}

	n.kill()
	n.expect(pool, "https://blog.example/", http.StatusOK)
	stop()
	stop = n.gateway(certFile, keyFile)
	n.expect(pool, "http://blog.example/", http.StatusOK)
	n.start()
	n.deploy("shop", "domains: [shop.example]")
	n.known(pool, "https://shop.example/")
	if err := n.api.Delete(n.ctx(), "shop"); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, patience, "the gateway to lose a site", func() error {
		status, _, err := n.outside.visit(pool, "http://shop.example/")
		if err == nil && status != http.StatusNotFound {
			err = fmt.Errorf("%d", status)
		}
		return err
	})
	stop()
}

// Debian's Apache, with what the official image of WordPress adds to it (apps/files), writes the visitor's address to its own access
// log, and PHP sees it as REMOTE_ADDR: not the gateway's, and not what the visitor claims. Of a site that cannot be started the
// visitor gets a clean page, and the operator the reason.
func TestRootGatewayTellsWho(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{more: "routes: {group: nogroup}"})
	n.ns.Run(t, "ip", "address", "add", private+"/32", "dev", "lo")
	n.machine = n.look()
	n.start()
	apache := apps.Get(t, "apache")
	apache.Command = []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", "/etc/apache2/wordpress.conf"}
	site := n.apply(apache.Spec("wordpress", "domains: [wordpress.example]", "env: {APACHE_RUN_DIR: /run, APACHE_PID_FILE: /run/apache2.pid, "+
		"APACHE_RUN_USER: www-data, APACHE_RUN_GROUP: www-data, APACHE_LOG_DIR: /var/log/apache2}"))
	n.deploy("broken", "command: [/nothing]", "domains: [broken.example]")
	certFile, keyFile, pool := n.certificate("wordpress.example")
	n.gateway(certFile, keyFile)
	n.known(pool, "https://wordpress.example/")
	const visitor = "198.51.100.2"
	for _, scheme := range []string{"http", "https"} {
		status, body, err := n.outside.visit(pool, scheme+"://wordpress.example/index.php?by="+scheme, forged...)
		if want := fmt.Sprintf("visitor %s by http, %s\n", visitor, scheme); err != nil || status != http.StatusOK || body != want {
			t.Errorf("by %s PHP sees %d %q, %v; want %q", scheme, status, body, err, want)
		}
	}
	left := map[string]bool{"http": true, "https": true}
	for line, err := range n.api.Logs(n.ctx(), site.name, api.LogOptions{Tail: -1, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		for scheme := range left {
			if !strings.Contains(line.Text, `"GET /index.php?by=`+scheme+` `) {
				continue
			}
			if !strings.HasPrefix(line.Text, visitor+" - - [") {
				t.Errorf("the access log says %q", line.Text)
			}
			delete(left, scheme)
		}
		if len(left) == 0 {
			break
		}
	}
	status, body, err := n.outside.visit(pool, "http://broken.example/")
	if err != nil || status != http.StatusServiceUnavailable || strings.Contains(body, "nothing") {
		t.Errorf("a site that cannot be started: %d %q, %v", status, body, err)
	}
	for _, ask := range [][]string{{"events", "--site", "broken"}, {"why", "broken"}} {
		if out := n.cli(ask...); !strings.Contains(out, "/nothing") {
			t.Errorf("fcnode %s does not say why:\n%s", strings.Join(ask, " "), out)
		}
	}
	log, err := os.ReadFile(n.path("fcnode-gateway.log"))
	if err != nil || !strings.Contains(string(log), "fcnode events --site broken") {
		t.Errorf("the gateway's log does not say whom to ask, %v:\n%s", err, log)
	}
}

// known waits until the gateway knows the site of a page, which is then served.
func (n *node) known(pool *x509.CertPool, url string) {
	n.t.Helper()
	testutil.WaitFor(n.t, patience, "the gateway to know "+url, func() error {
		status, body, err := n.outside.visit(pool, url)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

// The socket of the routes is of no other use: who may read it can neither see nor change the node.
func TestRootRoutesSocketGivesNoRights(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{more: "routes: {group: nogroup}"})
	n.deploy("blog", "domains: [blog.example]")
	info, err := os.Stat(n.routes())
	if err != nil {
		t.Fatal(err)
	}
	if mode, gid := info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Gid; mode != 0o660 || gid != nobody {
		t.Errorf("its mode is %o, its group %d", mode, gid)
	}
	feed := api.NewClient(n.routes())
	defer feed.Close()
	var sites []string
	for u, err := range feed.Routes(n.ctx(), false) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Route != nil {
			sites = append(sites, u.Route.Site)
		}
	}
	if strings.Join(sites, " ") != "blog" {
		t.Errorf("it tells of %q", sites)
	}
	if _, err := feed.List(n.ctx()); err == nil {
		t.Error("it answers other calls")
	}
}
