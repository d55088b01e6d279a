package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// replica has this machine's loopback for its network and a folder for its root.
type replica struct {
	root  string
	vip   netip.AddrPort // at which it answers; else by 127.0.0.1 alone
	asked []netip.Addr   // from where
	ran   error
}

func (r *replica) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	r.asked = append(r.asked, from)
	lo := netip.MustParseAddr("127.0.0.1")
	if to.Addr() != lo && to.Addr() != r.vip.Addr() {
		return nil, unix.ECONNREFUSED
	}
	return new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(lo, to.Port()).String())
}

func (r *replica) Root() (int, error) { return unix.Open(r.root, unix.O_PATH|unix.O_DIRECTORY, 0) }

func (r *replica) Run(context.Context, []string) error { return r.ran }

func ask(t *testing.T, p spec.Probe, r *replica, port int) error {
	t.Helper()
	if p.Timeout == 0 {
		p.Timeout = spec.Duration(testutil.Timeout(time.Minute))
	}
	return Ask(t.Context(), p, Target{Replica: r, Addrs: []netip.Addr{netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("fd77:fc::2")}, Host: "blog.example", Port: port})
}

func wants(t *testing.T, what string, err error, says string) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Errorf("%s: %v, want it to pass", what, err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want %q", what, err, says)
	}
}

func serve(t *testing.T, h http.Handler) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h} //nolint:gosec // of this test alone
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// TestHTTP: the status decides, and nothing that the answer has besides.
func TestHTTP(t *testing.T) {
	var host, agent string
	hang := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(_ http.ResponseWriter, r *http.Request) { host, agent = r.Host, r.UserAgent() })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	mux.HandleFunc("/hangs", func(http.ResponseWriter, *http.Request) { <-hang })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	mux.HandleFunc("/garbage", func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			fmt.Fprint(c, "\x00\xff\r\n\r\n")
			c.Close()
		}
	})
	port := serve(t, mux)
	defer close(hang)
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/ok", 0, ""},
		{"/ok?x=1", 200, ""},
		{"/ok", 204, "status 200, want 204"},
		{"/bad", 0, "status 502, want 200 to 399"},
		{"/bad", 502, ""},
		{"/moved", 0, ""}, // and not followed
		{"/large", 0, ""},
		{"/headers", 0, "GET /headers on port"},
		{"/garbage", 0, "malformed HTTP"},
	} {
		wants(t, fmt.Sprint(c.path, " ", c.status), ask(t, spec.Probe{HTTP: c.path, Status: c.status}, &replica{}, port), c.says)
	}
	if want := fmt.Sprintf("blog.example:%d", port); host != want || agent != "fcnode-probe" {
		t.Errorf("it was asked by the name %q as %q, want %q", host, agent, want)
	}
	wants(t, "one that hangs", ask(t, spec.Probe{HTTP: "/hangs", Timeout: spec.Duration(50 * time.Millisecond)}, &replica{}, port), "no answer within 50ms")
}

// TestWays: the visitors' address is tried first, then 127.0.0.1, from loopback addresses, which are not counted.
func TestWays(t *testing.T) {
	port := serve(t, http.NotFoundHandler())
	r := &replica{}
	wants(t, "on 127.0.0.1 alone", ask(t, spec.Probe{TCP: port}, r, 0), "")
	for _, from := range r.asked {
		if !from.IsLoopback() {
			t.Errorf("asked from %s", from)
		}
	}
	r = &replica{vip: netip.MustParseAddrPort("10.77.0.2:80")}
	wants(t, "at the VIP", ask(t, spec.Probe{TCP: port}, r, 0), "")
	if len(r.asked) != 1 {
		t.Errorf("asked from %v, the first time was enough", r.asked)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).Port
	l.Close()
	wants(t, "nobody", ask(t, spec.Probe{TCP: free}, &replica{}, 0), fmt.Sprintf("nobody listens on port %d", free))
	wants(t, "a command", ask(t, spec.Probe{Exec: []string{"/check"}}, &replica{ran: errors.New("exit code 2")}, 0), "run /check: exit code 2")
	wants(t, "another", ask(t, spec.Probe{Exec: []string{"/check"}}, &replica{}, 0), "")
	wants(t, "nothing", ask(t, spec.Probe{}, &replica{}, 0), "")
}

// TestFiles: what a path of the replica's names is looked for among its own files, whatever its tenant makes of them.
func TestFiles(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	listen := func(path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	listen(filepath.Join(outside, "host"))
	listen(filepath.Join(root, "up"))
	at := filepath.Join(root, "dead")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(root, "gram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gram.Close() })
	for link, to := range map[string]string{
		"link": "/up", "out": filepath.Join(outside, "host"), "far": "../../../../.." + filepath.Join(outside, "host"),
		"proc": "/proc/self/root" + filepath.Join(outside, "host"), "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(root, "file"), nil, 0o000), unix.Mkfifo(filepath.Join(root, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	r := &replica{root: root}
	for path, says := range map[string]string{
		"/up": "", "/link": "", "/gram": "", "/dead": "nobody listens on /dead", "/file": "is no socket", "/fifo": "is no socket",
		"/out": "no such file", "/far": "no such file", "/proc": "too many levels", "/loop": "too many levels", "/none": "no such file",
	} {
		wants(t, "unix "+path, ask(t, spec.Probe{Unix: path}, r, 0), says)
	}
	for path, says := range map[string]string{
		"/file": "", "/fifo": "", "/link": "", "/out": "no such file", "/far": "no such file", "/none": "no such file", "/file/x": "not a directory",
	} {
		wants(t, "file "+path, ask(t, spec.Probe{File: path}, r, 0), says)
	}
}
