package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/apps"
	"github.com/fcnode/fcnode/tests/testutil"
)

// unpacked is a program of Debian's packages that runs from a folder, by the folder's own libraries.
func unpacked(t *testing.T, root, program string, args ...string) *exec.Cmd {
	t.Helper()
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib64/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		t.Fatalf("the loader of %s: %v, %v", root, loaders, err)
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil || len(libraries) != 1 {
		t.Fatalf("the libraries of %s: %v, %v", root, libraries, err)
	}
	return exec.Command(loaders[0], append([]string{"--library-path", libraries[0], filepath.Join(root, program)}, args...)...)
}

// frontEnd is a program that serves sites by a configuration of fcnode routes.
type frontEnd struct {
	name    string
	program string
	// around is what it needs besides, with FILE, DIR and ROOT filled in.
	around string
	args   []string
	// unknown is the status for names that no site has.
	unknown int
}

var frontEnds = []frontEnd{
	{"nginx", "usr/sbin/nginx", `
daemon off; pid DIR/nginx.pid; error_log DIR/nginx.err; user root; worker_processes 1;
events {}
http {
	access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	include FILE;
}`, []string{"-p", "DIR", "-e", "DIR/nginx.err", "-c", "DIR/around"}, http.StatusNotFound},
	{"apache", "usr/sbin/apache2", `
ServerRoot DIR
PidFile DIR/apache.pid
ErrorLog DIR/apache.err
DefaultRuntimeDir DIR
Mutex pthread
User #65534
Group #65534
Listen 80
Listen 443
LoadModule mpm_prefork_module ROOT/usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module ROOT/usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module ROOT/usr/lib/apache2/modules/mod_alias.so
LoadModule headers_module ROOT/usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module ROOT/usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module ROOT/usr/lib/apache2/modules/mod_proxy_http.so
LoadModule proxy_http2_module ROOT/usr/lib/apache2/modules/mod_proxy_http2.so
LoadModule socache_shmcb_module ROOT/usr/lib/apache2/modules/mod_socache_shmcb.so
LoadModule ssl_module ROOT/usr/lib/apache2/modules/mod_ssl.so
Include FILE
`, []string{"-D", "FOREGROUND", "-f", "DIR/around"}, http.StatusNotFound},
	{"haproxy", "usr/sbin/haproxy", "global\n\tmaxconn 100\n\ttune.ssl.default-dh-param 2048\n", []string{"-db", "-f", "DIR/around", "-f", "FILE"}, http.StatusMisdirectedRequest},
	// It sends names that it does not know to HTTPS, where there is no certificate for them.
	{"caddy", "usr/bin/caddy", "{\n\tadmin off\n\tstorage file_system DIR/caddy\n}\nimport FILE\n",
		[]string{"run", "--adapter", "caddyfile", "--config", "DIR/around"}, http.StatusPermanentRedirect},
}

// Each of the configurations that fcnode routes writes makes its program serve a site that sleeps, and refuse names that no
// site has without waking one.
func TestRootFrontEnds(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range frontEnds {
		t.Run(f.name, func(t *testing.T) {
			n := newNode(t, options{})
			s := n.deploy("blog", "domains: [blog.example]", "gateway: {https: redirect, www: apex}")
			p := n.deploy("plain", "domains: [plain.example]")
			certFile, keyFile, pool := n.certificate("blog.example", "www.blog.example", "plain.example")
			if f.name == "haproxy" { // which has both in one file
				cert, err := os.ReadFile(certFile)
				if err != nil {
					t.Fatal(err)
				}
				key, err := os.ReadFile(keyFile)
				if err != nil {
					t.Fatal(err)
				}
				certFile = n.write("both.pem", string(cert)+string(key))
			}
			file := n.path("fcnode.conf")
			write := n.command("routes", "-o", f.name, "--certificate", certFile, "--key", keyFile, "--write", file)
			if out, err := write.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			root := apps.Root(t, f.name)
			fill := replacer(map[string]string{"DIR": n.dir, "FILE": file, "ROOT": root})
			n.write("around", fill(f.around))
			args := make([]string, len(f.args))
			for i, a := range f.args {
				args[i] = fill(a)
			}
			stop := n.background(unpacked(t, root, f.program, args...), 0)
			defer stop()
			n.listening(80)
			n.listening(443)
			mark := n.mark()
			n.expect(pool, "http://other.example/", f.unknown)
			n.expect(pool, "http://blog.example/", http.StatusPermanentRedirect)
			n.expect(pool, "https://www.blog.example/", http.StatusPermanentRedirect)
			if got := s.starts(mark) + p.starts(mark); got != 0 {
				t.Errorf("%d starts by requests that no site answers", got)
			}
			n.expect(pool, "https://blog.example/", http.StatusOK)
			n.expect(pool, "http://plain.example/", http.StatusOK)
			if a, b := s.starts(mark), p.starts(mark); a != 1 || b != 1 {
				t.Errorf("%d and %d starts", a, b)
			}
			n.tellsWho(pool, "plain.example")
			n.streams("plain.example")
		})
	}
}

// streams checks that the begin of an answer arrives before its end is there.
func (n *node) streams(host string) {
	n.t.Helper()
	c, err := n.outside.connect(netip.MustParseAddrPort(shared + ":80"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /hold HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	_ = c.SetReadDeadline(time.Now().Add(testutil.Timeout(patience)))
	for in, line := bufio.NewReader(c), ""; line != "begun\n"; {
		if line, err = in.ReadString('\n'); err != nil {
			n.t.Fatalf("the begin of an answer: %q, %v", line, err)
		}
	}
}

// replacer fills words in.
func replacer(words map[string]string) func(string) string {
	var pairs []string
	for from, to := range words {
		pairs = append(pairs, from, to)
	}
	return strings.NewReplacer(pairs...).Replace
}
