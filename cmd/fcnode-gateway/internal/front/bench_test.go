package front

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/conf"
	"github.com/fcnode/fcnode/cmd/fcnode-gateway/internal/routes"
)

// visitors is how many ask at a time in benchmarks.
const visitors = 16

// frontRounds is how often each way is measured, for frontRound. The rounds are short and the ways take turns, so that what else the
// machine does falls on all alike, and a ratio is of two that were measured one beside the other.
const (
	frontRounds = 120
	frontRound  = 60 * time.Millisecond
)

// process is a front end in a process of its own, which this program is when envFront has it.
type process struct {
	Kind          string // gateway, or caddy: by hand
	HTTP, HTTPS   string
	Certificate   conf.Certificate
	Upstreams     map[string]string // by host
	Rate, PerSite int

	pid int
}

const envFront = "FCNODE_BENCH_FRONT"

func TestMain(m *testing.M) {
	if text := os.Getenv(envFront); text != "" {
		if err := serveFront(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveFront is a front end until its standard input ends.
func serveFront(text string) error {
	var p process
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	start := p.caddy
	if p.Kind == "gateway" {
		start = p.gateway
	}
	if err := start(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

func (p *process) gateway() error {
	cfg := conf.Default()
	cfg.HTTP, cfg.HTTPS, cfg.HTTP3, cfg.Certificates = []string{p.HTTP}, []string{p.HTTPS}, false, []conf.Certificate{p.Certificate}
	cfg.Limits.Rate = float64(p.Rate)
	if p.Rate > 0 {
		cfg.Limits.Burst, cfg.Limits.PerSite = p.Rate, p.PerSite
	}
	cfg.StateDir = filepath.Dir(p.Certificate.Certificate)
	g, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for host, upstream := range p.Upstreams {
		to, err := netip.ParseAddrPort(upstream)
		if err != nil {
			return err
		}
		g.Table.Put(routes.Route{Site: host, Domains: []string{host}, Addresses: []netip.Addr{to.Addr()}, Port: int(to.Port())})
	}
	return g.Start()
}

// caddy is what one writes by hand: a reverse proxy for a host.
func (p *process) caddy() error {
	var all []object
	for host, upstream := range p.Upstreams {
		all = append(all, object{
			"match":  []object{{"host": []string{host}}},
			"handle": []object{{"handler": "reverse_proxy", "upstreams": []object{{"dial": upstream}}}},
		})
	}
	server := func(addr string, more object) object {
		s := object{"listen": []string{addr}, "routes": all, "automatic_https": object{"disable": true}, "protocols": []string{"h1", "h2"}}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	text, err := json.Marshal(object{
		"admin": object{"disabled": true},
		"apps": object{
			"http": object{
				"http_port": portOf([]string{p.HTTP}, 0), "https_port": portOf([]string{p.HTTPS}, 0),
				"servers": object{"plain": server(p.HTTP, nil), "secure": server(p.HTTPS, object{"tls_connection_policies": []object{{}}})},
			},
			"tls": object{"certificates": object{"load_files": []object{{"certificate": p.Certificate.Certificate, "key": p.Certificate.Key}}}},
		},
	})
	if err != nil {
		return err
	}
	return caddy.Load(text, true)
}

// run starts the front end, and has it end with the benchmark.
func (p process) run(b *testing.B) process {
	b.Helper()
	p.HTTP, p.HTTPS = freeAddr(b), freeAddr(b)
	text, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), envFront+"="+string(text)), io.Discard
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("%s does not start: %v", p.Kind, err)
	}
	p.pid = cmd.Process.Pid
	return p
}

// siteOf is the address of the site that is asked: a container by its VIP where FCNODE_BENCH_SITE names it (make bench), else a server
// of this process.
func siteOf(b *testing.B) string {
	b.Helper()
	if addr := os.Getenv("FCNODE_BENCH_SITE"); addr != "" {
		return addr
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }))
	b.Cleanup(site.Close)
	return site.Listener.Addr().String()
}

// BenchmarkFront has 16 visitors who keep their connections ask one site: directly, through Caddy and nginx configured by hand, and
// through the gateway, each a process of its own. nginx is that of FCNODE_APPS (make apps), if there is one.
func BenchmarkFront(b *testing.B) {
	site := siteOf(b)
	ca := newAuthority(b)
	files := ca.files(b, "a.example")
	p := process{Certificate: files, Upstreams: map[string]string{"a.example": site}}
	p.Kind = "caddy"
	byHand := p.run(b)
	p.Kind = "gateway"
	gateway := p.run(b)
	secured := &tls.Config{RootCAs: ca.pool, ServerName: "a.example"}
	plainN, secureN := plainNginx(b, site, files)
	for _, scheme := range []string{"http", "https"} {
		ways := []way{{name: "direct", v: visitor{addr: site}}, {name: "caddy", pid: byHand.pid, v: visitor{addr: byHand.HTTP}}, {name: "nginx", v: visitor{addr: plainN}}, {name: "gateway", pid: gateway.pid, v: visitor{addr: gateway.HTTP}}}
		if scheme == "https" {
			ways = []way{{name: "caddy", pid: byHand.pid, v: visitor{byHand.HTTPS, "", secured}}, {name: "nginx", v: visitor{secureN, "", secured}}, {name: "gateway", pid: gateway.pid, v: visitor{gateway.HTTPS, "", secured}}}
		}
		ways = slices.DeleteFunc(ways, func(w way) bool { return w.v.addr == "" })
		for i := range ways {
			ways[i].v.host = "a.example"
			ways[i].crowd = ways[i].v.crowd(b)
			ways[i].crowd.load(b, frontRound) // the first asks for what is made once
		}
		for round := range frontRounds {
			for _, i := range rand.New(rand.NewPCG(uint64(round), 0)).Perm(len(ways)) { // in no order, but in the same in each run
				w := &ways[i]
				before, begin := cpuTime(b, w.pid), time.Now()
				took := w.crowd.load(b, frontRound)
				w.rate = append(w.rate, float64(len(took))/time.Since(begin).Seconds())
				w.took, w.cpu = append(w.took, took...), w.cpu+cpuTime(b, w.pid)-before
			}
		}
		table(scheme, ways)
	}
}

// goal says whether a promise was kept in this run.
func goal(what string, met bool, measured string) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	fmt.Printf("- Goal: %s. Measured: %s: **%s**.\n\n", what, measured, verdict)
}

// way is one of several to a site, with what was measured.
type way struct {
	name  string
	v     visitor
	pid   int // whose CPU time is told; 0: it has several
	crowd *crowd
	rate  []float64 // requests per second in each round
	took  []time.Duration
	cpu   time.Duration // for all of them
}

// p99 in ms, of the requests of all rounds.
func (w *way) p99() float64 {
	slices.Sort(w.took)
	return float64(w.took[len(w.took)*99/100].Microseconds()) / 1000
}

// cpuTime is what the threads of a process have used.
func cpuTime(b *testing.B, pid int) (all time.Duration) {
	b.Helper()
	if pid == 0 {
		return 0
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("the threads of %d: %v", pid, err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			b.Fatal(err)
		}
		on, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		all += time.Duration(ns)
	}
	return all
}

// table prints the medians, and those of the rounds' ratios to Caddy.
func table(scheme string, ways []way) {
	base := ways[slices.IndexFunc(ways, func(w way) bool { return w.name == "caddy" })]
	fmt.Printf("\n| %s | requests/s | p99 | requests/s against Caddy | p99 against Caddy | its CPU for a request |\n|---|---|---|---|---|---|\n", scheme)
	for _, w := range ways {
		cpu := ""
		if w.pid != 0 {
			cpu = w.each().Round(time.Microsecond).String()
		}
		fmt.Printf("| %s | %.0f | %.2f ms | %.2f | %.2f | %s |\n", w.name, median(w.rate), w.p99(),
			median(quotients(w.rate, base.rate)), w.p99()/base.p99(), cpu)
	}
	fmt.Println()
	gateway := ways[slices.IndexFunc(ways, func(w way) bool { return w.name == "gateway" })]
	ratio := median(quotients(gateway.rate, base.rate))
	goal("at least 0.95 of Caddy's requests/s by "+scheme, ratio >= 0.95, fmt.Sprintf("%.2f, and %.2f of its CPU for a request", ratio,
		float64(gateway.each())/float64(base.each())))
}

// each is the CPU time for a request.
func (w *way) each() time.Duration { return w.cpu / time.Duration(len(w.took)) }

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func quotients(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// plainNginx starts nginx as one configures it by hand; without one, the addresses are empty.
func plainNginx(b testing.TB, upstream string, files conf.Certificate) (plain, secure string) {
	b.Helper()
	root := filepath.Join(os.Getenv("FCNODE_APPS"), "nginx")
	loaders, _ := filepath.Glob(filepath.Join(root, "usr/lib64/ld-linux-*.so.*"))
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if len(loaders) != 1 || len(libraries) != 1 {
		b.Log("without nginx: set FCNODE_APPS to what tests/apps/build.sh prints")
		return "", ""
	}
	plain, secure = freeAddr(b), freeAddr(b)
	dir := b.TempDir()
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
			return plain, secure
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

// crowd is some visitors with a connection each.
type crowd struct {
	v     visitor
	conns []net.Conn
	in    []*bufio.Reader
}

func (v visitor) crowd(b *testing.B) *crowd {
	b.Helper()
	c := &crowd{v: v}
	for range visitors {
		conn, err := v.connect()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		c.conns, c.in = append(c.conns, conn), append(c.in, bufio.NewReader(conn))
	}
	return c
}

// load has all of them ask for a time, and says how long each request took.
func (c *crowd) load(b *testing.B, during time.Duration) (all []time.Duration) {
	b.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range c.conns {
		wg.Go(func() {
			var took []time.Duration
			for time.Since(begin) < during {
				asked := time.Now()
				if status, err := c.v.ask(c.conns[i], c.in[i]); err != nil || status != http.StatusOK {
					b.Errorf("%d, %v", status, err)
					return
				}
				took = append(took, time.Since(asked))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	if len(all) == 0 {
		b.FailNow()
	}
	return all
}

// What a flood is: sources that ask one site as fast as they are answered but for a pause, each far past what it may.
const (
	floodSources = 8
	floodPause   = 2 * time.Millisecond
	floodRate    = 100 // that each source may, and 64 at a time
	quietEach    = 10 * time.Millisecond
	quietVisits  = 200
	floodRounds  = 15
)

// BenchmarkFlood visits one site a hundred times a second, in turns with and without a flood on another behind the same gateway.
func BenchmarkFlood(b *testing.B) {
	site := siteOf(b)
	ca := newAuthority(b)
	upstreams := map[string]string{"flooded.example": site, "quiet.example": site}
	p := process{Kind: "gateway", Certificate: ca.files(b, "a.example"), Upstreams: upstreams, Rate: floodRate, PerSite: 64}.run(b)
	quiet := visitor{addr: p.HTTP, host: "quiet.example"}
	results := map[string][]float64{}
	var floods, refused []float64
	for range floodRounds {
		results["without"] = append(results["without"], quiet.visits(b))
		stop := flood(b, visitor{addr: p.HTTP, host: "flooded.example"})
		results["with"] = append(results["with"], quiet.visits(b))
		all, bad := stop()
		floods, refused = append(floods, all), append(refused, bad/all)
	}
	fmt.Printf("\n| a flood on another site | p99 of the visits |\n|---|---|\n| none | %.2f ms |\n| %.0f requests/s, %.0f %% of them refused | %.2f ms |\n\n",
		median(results["without"]), median(floods), 100*median(refused), median(results["with"]))
	ratio := median(quotients(results["with"], results["without"]))
	goal("a flood leaves the p99 of the others within 2 x", ratio <= 2, fmt.Sprintf("%.2f x", ratio))
}

// visits makes some at a fixed pace, and gives the 99th percentile in ms.
func (v visitor) visits(b *testing.B) float64 {
	b.Helper()
	c, err := v.connect()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	var all []time.Duration
	tick := time.NewTicker(quietEach)
	defer tick.Stop()
	for range quietVisits {
		<-tick.C
		begin := time.Now()
		if status, err := v.ask(c, in); err != nil || status != http.StatusOK {
			b.Fatal(status, err)
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return float64(all[len(all)*99/100].Microseconds()) / 1000
}

// flood asks until it is stopped, which says how many answers a second there were and how many of these were refusals.
func flood(b *testing.B, v visitor) (stop func() (all, refused float64)) {
	b.Helper()
	var end atomic.Bool
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range floodSources {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
			for !end.Load() {
				c, err := d.Dial("tcp", v.addr)
				if err != nil {
					b.Error(err)
					return
				}
				for in := bufio.NewReader(c); !end.Load(); <-time.After(floodPause) {
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
	return func() (float64, float64) {
		end.Store(true)
		wg.Wait()
		seconds := time.Since(begin).Seconds()
		return float64(served.Load()+refused.Load()) / seconds, float64(refused.Load()) / seconds
	}
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
