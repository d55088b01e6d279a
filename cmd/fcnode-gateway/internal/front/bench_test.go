package front

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
)

// visitors is how many ask at a time in benchmarks.
const visitors = 16

// BenchmarkFront asks a site on the loopback device with 16 visitors who keep their connections: directly, through Caddy and nginx
// configured by hand, and through the gateway. nginx is that of FCNODE_APPS (make apps), if there is one.
func BenchmarkFront(b *testing.B) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }))
	defer site.Close()
	upstream := site.Listener.Addr().String()
	for _, secure := range []bool{false, true} {
		scheme := schemeOf(secure)
		if !secure {
			b.Run("direct/"+scheme, func(b *testing.B) { load(b, visitor{addr: upstream, host: "a.example"}, nil) })
		}
		for name, serve := range map[string]func(testing.TB, string) (string, string, *authority){
			"caddy": plainCaddy, "nginx": plainNginx, "gateway": gatewayOf,
		} {
			b.Run(name+"/"+scheme, func(b *testing.B) {
				plain, tlsAddr, ca := serve(b, upstream)
				v := visitor{addr: plain, host: "a.example"}
				if secure {
					v.addr, v.tls = tlsAddr, &tls.Config{RootCAs: ca.pool, ServerName: "a.example"}
				}
				load(b, v, nil)
			})
		}
	}
}

func gatewayOf(b testing.TB, upstream string) (plain, secure string, ca *authority) {
	b.Helper()
	r := start(b, options{names: []string{"a.example"}, conf: func(c *conf.Config) { c.Limits.Rate, c.HTTP3 = 0, false }})
	addr, err := net.ResolveTCPAddr("tcp", upstream)
	if err != nil {
		b.Fatal(err)
	}
	r.put("a", addr, nil)
	return r.http, r.https, r.ca
}

// plainCaddy is what one writes by hand: a reverse proxy for a host.
func plainCaddy(b testing.TB, upstream string) (plain, secure string, ca *authority) {
	b.Helper()
	plain, secure, ca = freeAddr(b), freeAddr(b), newAuthority(b)
	files := ca.files(b, "a.example")
	route := []object{{
		"match":  []object{{"host": []string{"a.example"}}},
		"handle": []object{{"handler": "reverse_proxy", "upstreams": []object{{"dial": upstream}}}},
	}}
	server := func(addr string, more object) object {
		s := object{"listen": []string{addr}, "routes": route, "automatic_https": object{"disable": true}, "protocols": []string{"h1", "h2"}}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	text, err := json.Marshal(object{
		"admin": object{"disabled": true},
		"apps": object{
			"http": object{
				"http_port": portNumber(b, plain), "https_port": portNumber(b, secure),
				"servers": object{"plain": server(plain, nil), "secure": server(secure, object{"tls_connection_policies": []object{{}}})},
			},
			"tls": object{"certificates": object{"load_files": []object{{"certificate": files.Certificate, "key": files.Key}}}},
		},
	})
	if err == nil {
		err = caddy.Load(text, true)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })
	return plain, secure, ca
}

func plainNginx(b testing.TB, upstream string) (plain, secure string, ca *authority) {
	b.Helper()
	root := filepath.Join(os.Getenv("FCNODE_APPS"), "nginx")
	loaders, _ := filepath.Glob(filepath.Join(root, "usr/lib64/ld-linux-*.so.*"))
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if len(loaders) != 1 || len(libraries) != 1 {
		b.Skip("without nginx: set FCNODE_APPS to what tests/apps/build.sh prints")
	}
	plain, secure, ca = freeAddr(b), freeAddr(b), newAuthority(b)
	files, dir := ca.files(b, "a.example"), b.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off; pid %[1]s/pid; worker_processes auto; events { worker_connections 4096; }
http {
	access_log off; keepalive_requests 1000000000;
	client_body_temp_path %[1]s/1; proxy_temp_path %[1]s/2; fastcgi_temp_path %[1]s/3; uwsgi_temp_path %[1]s/4; scgi_temp_path %[1]s/5;
	upstream site { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
	server {
		listen %[3]s; listen %[4]s ssl; server_name a.example;
		ssl_certificate %[5]s; ssl_certificate_key %[6]s;
		location / { proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
	}
}`, dir, upstream, plain, secure, files.Certificate, files.Key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(loaders[0], "--library-path", libraries[0], filepath.Join(root, "usr/sbin/nginx"), "-e", dir+"/err", "-p", dir, "-c", config)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", plain)
		if err == nil {
			c.Close()
			return plain, secure, ca
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// visitor asks for one page again and again, with as little effort as can be: what is measured is what answers.
type visitor struct {
	addr, host string
	tls        *tls.Config
}

func (v visitor) connect() (net.Conn, error) {
	if v.tls != nil {
		return tls.Dial("tcp", v.addr, v.tls)
	}
	return net.Dial("tcp", v.addr)
}

// ask makes one request and reads the answer to its end.
func (v visitor) ask(c net.Conn, in *bufio.Reader) (int, error) {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", v.host); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// load makes b.N requests and reports their rate and the 99th percentile of what they took.
func load(b *testing.B, v visitor, each func(status int)) (p99 time.Duration) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	for range visitors {
		wg.Go(func() {
			c, err := v.connect()
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			var took []time.Duration
			for left.Add(-1) >= 0 {
				begin := time.Now()
				status, err := v.ask(c, in)
				if err != nil || status != http.StatusOK && each == nil {
					b.Errorf("%d, %v", status, err)
					return
				}
				took = append(took, time.Since(begin))
				if each != nil {
					each(status)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	b.StopTimer()
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	p99 = all[len(all)*99/100]
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(p99.Microseconds()), "p99-µs")
	return p99
}

// BenchmarkFlood asks one site while others ask another for all they can, each from an address of its own, past the limit.
func BenchmarkFlood(b *testing.B) {
	r := start(b, options{conf: func(c *conf.Config) { c.Limits.Rate, c.Limits.Burst, c.Limits.PerSite = 100, 100, 64 }})
	r.site("flooded", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }, nil)
	r.site("quiet", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }, nil)
	quiet := func(b *testing.B) {
		b.Helper()
		// A visit each 20 ms, well below the limit: what is measured is the wait, not the rate.
		v := visitor{addr: r.http, host: "quiet.example"}
		c, err := v.connect()
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		in := bufio.NewReader(c)
		var all []time.Duration
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for b.Loop() {
			<-tick.C
			begin := time.Now()
			if status, err := v.ask(c, in); err != nil || status != http.StatusOK {
				b.Fatal(status, err)
			}
			all = append(all, time.Since(begin))
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	}
	b.Run("without", quiet)
	b.Run("with", func(b *testing.B) {
		var stop atomic.Bool
		var refused, served atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
				v := visitor{addr: r.http, host: "flooded.example"}
				for !stop.Load() {
					c, err := d.Dial("tcp", v.addr)
					if err != nil {
						return
					}
					for in := bufio.NewReader(c); !stop.Load(); {
						status, err := v.ask(c, in)
						if err != nil {
							break
						}
						if status == http.StatusOK {
							served.Add(1)
						} else {
							refused.Add(1)
						}
					}
					c.Close()
				}
			})
		}
		quiet(b)
		stop.Store(true)
		wg.Wait()
		b.ReportMetric(float64(served.Load()+refused.Load())/b.Elapsed().Seconds(), "flood/s")
	})
}

// farConn is a connection to somebody far away: what is read arrives later.
type farConn struct {
	net.Conn
	in *io.PipeReader
}

func (c *farConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// far gives a connection whose answers take so much longer.
func far(c net.Conn, by time.Duration) net.Conn {
	type chunk struct {
		text []byte
		due  time.Time
		err  error
	}
	chunks := make(chan chunk, 1024)
	in, out := io.Pipe()
	go func() {
		for {
			buf := make([]byte, 32<<10)
			n, err := c.Read(buf)
			chunks <- chunk{buf[:n], time.Now().Add(by), err}
			if err != nil {
				close(chunks)
				return
			}
		}
	}()
	go func() {
		for ch := range chunks {
			<-time.After(time.Until(ch.due))
			if len(ch.text) > 0 {
				if _, err := io.Copy(out, bytes.NewReader(ch.text)); err != nil {
					return
				}
			}
			if ch.err != nil {
				out.CloseWithError(ch.err)
			}
		}
	}()
	return &farConn{Conn: c, in: in}
}

// BenchmarkWake is the time from the ClientHello to the first byte of a site that takes 100 ms to wake, for visitors at some
// distance, with the wake beginning at the ClientHello and at the request.
func BenchmarkWake(b *testing.B) {
	for _, roundTrip := range []time.Duration{0, 20 * time.Millisecond, 80 * time.Millisecond} {
		for _, atRequest := range []bool{true, false} {
			at := "hello"
			if atRequest {
				at = "request"
			}
			b.Run(fmt.Sprintf("away=%s/at=%s", roundTrip, at), func(b *testing.B) {
				r := start(b, options{names: []string{"a.example"}, conf: func(c *conf.Config) {
					c.Wake.AtRequest, c.Wake.KeepAlive = atRequest, time.Millisecond
				}})
				r.dial = func(network, addr string) (net.Conn, error) {
					<-time.After(100 * time.Millisecond)
					return net.Dial(network, addr)
				}
				r.site("a", echo, nil)
				var all []time.Duration
				for b.Loop() {
					raw, err := net.Dial("tcp", r.https)
					if err != nil {
						b.Fatal(err)
					}
					begin := time.Now()
					c := tls.Client(far(raw, roundTrip), &tls.Config{RootCAs: r.ca.pool, ServerName: "a.example"})
					v := visitor{host: "a.example"}
					if status, err := v.ask(c, bufio.NewReader(c)); err != nil || status != http.StatusOK {
						b.Fatal(status, err)
					}
					all = append(all, time.Since(begin))
					c.Close()
					for u := upstreamOf(r.Table.Sites()[0]); ; { // asleep again
						u.mu.Lock()
						open := u.open
						u.mu.Unlock()
						if open == 0 {
							break
						}
						<-time.After(time.Millisecond)
					}
				}
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			})
		}
	}
}
