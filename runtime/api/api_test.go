package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

const patience = 10 * time.Second

// rig is a server on a socket, its backend, its log, and a client.
type rig struct {
	*api.Client
	backend *memory
	socket  string
	log     *syncBuffer
	stop    func() // stops the server and waits for it
}

// start serves a fresh backend; at the end of the test nothing of this package may run.
func start(t *testing.T) *rig {
	t.Helper()
	return startWith(t, func(m *memory) api.Backend { return m })
}

// startWith serves a backend made of a fresh one.
func startWith(t *testing.T, of func(*memory) api.Backend) *rig {
	t.Helper()
	t.Cleanup(func() { noGoroutines(t) })
	r := &rig{backend: newMemory(), socket: filepath.Join(t.TempDir(), "s"), log: &syncBuffer{}}
	ln, _, err := api.Listen(r.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.NewServer(of(r.backend), log).Serve(ctx, ln) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := testutil.Receive(t, patience, "the end of the server", served); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	r.Client = api.NewClient(r.socket)
	t.Cleanup(func() {
		r.Client.Close()
		r.stop()
	})
	return r
}

func noGoroutines(t *testing.T) {
	t.Helper()
	testutil.WaitFor(t, patience, "the end of all goroutines of package api", func() error {
		buf := make([]byte, 1<<20)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "runtime/api.(") && !strings.Contains(g, "api_test.noGoroutines") {
				return fmt.Errorf("still there:\n%s", g)
			}
		}
		return nil
	})
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

// validSite returns a site as spec.Parse makes it.
func validSite(t *testing.T, name string) spec.Site {
	t.Helper()
	sites, err := spec.Parse("test.yaml", strings.NewReader("name: "+name+"\nimage: dir:/srv/"+name+"\nports: [80/tcp]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return sites[0]
}

// blog applies one site.
func (r *rig) blog(t *testing.T) {
	t.Helper()
	if _, err := r.Apply(t.Context(), []spec.Site{validSite(t, "blog")}, false); err != nil {
		t.Fatal(err)
	}
}

func TestSpecFile(t *testing.T) {
	r, ctx := start(t), t.Context()
	file, err := r.SpecFile(ctx, "blog")
	if want := (api.SpecFile{Path: "/specs/blog.yaml", Text: "name: blog\n", Digest: "sha256:d", Saved: true}); err != nil || file != want {
		t.Fatalf("SpecFile = %+v, %v", file, err)
	}
	file.Text = "name: blog\nimage: dir:/a\nports: [80]\ncolour: red\n"
	_, err = r.WriteSpec(ctx, "blog", file, false)
	if want := "/specs/blog.yaml:4:1: colour: unknown field"; !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("a bad text: %v, want %q", err, want)
	}
	file.Text = "name: blog\nimage: dir:/a\nports: [80]\n"
	if _, err := r.WriteSpec(ctx, "shop", file, false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("another site's text: %v", err)
	}
	if got, err := r.WriteSpec(ctx, "blog", file, true); err != nil || len(got) != 1 || got[0].Action != api.ActionCreated {
		t.Errorf("a dry run = %+v, %v", got, err)
	}
	if list, err := r.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("the dry run changed something: %v, %v", list, err)
	}
	if _, err := r.WriteSpec(ctx, "blog", file, false); err != nil {
		t.Error(err)
	}
	if _, err := r.Get(ctx, "blog"); err != nil {
		t.Error(err)
	}
}

func TestRollback(t *testing.T) {
	r, ctx := start(t), t.Context()
	r.blog(t)
	if got, err := r.Rollback(ctx, "blog", 2, true); err != nil || got[0].Notes[0] != "2 true" {
		t.Errorf("Rollback = %+v, %v", got, err)
	}
	if got, err := r.Rollback(ctx, "blog", 0, false); err != nil || got[0].Notes[0] != "0 false" {
		t.Errorf("Rollback = %+v, %v", got, err)
	}
	if _, err := r.Rollback(ctx, "nobody", 0, false); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("Rollback of what is not there: %v", err)
	}
	if _, err := r.Rollback(ctx, "blog", 9, false); !errors.Is(err, api.ErrConflict) {
		t.Errorf("Rollback to what is not there: %v", err)
	}
}

func TestPull(t *testing.T) {
	r := start(t)
	var got []api.Pull
	for p, err := range r.Pull(t.Context(), "a/b:c&d") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	want := []api.Pull{{Layers: 1, Of: 2, Bytes: 10, Size: 20}, {Image: &api.Image{Digest: "sha256:a/b:c&d", Ports: []string{"80/tcp"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, err := range r.Pull(t.Context(), "") {
		if !errors.Is(err, api.ErrInvalid) {
			t.Errorf("no image: %v", err)
		}
	}
}

func TestSites(t *testing.T) {
	r, ctx := start(t), t.Context()
	list, err := r.List(ctx)
	if err != nil || list == nil || len(list) != 0 {
		t.Fatalf("List of an empty node = %v, %v", list, err)
	}

	sites := []spec.Site{validSite(t, "blog"), validSite(t, "shop")}
	got, err := r.Apply(ctx, sites, true)
	want := []api.ApplyResult{{Name: "blog", Action: api.ActionCreated}, {Name: "shop", Action: api.ActionCreated}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); err != nil || diff != "" {
		t.Fatalf("dry run: %v\n%s", err, diff)
	}
	if list, err = r.List(ctx); err != nil || len(list) != 0 {
		t.Fatalf("the dry run changed something: %v, %v", list, err)
	}
	if _, err = r.Apply(ctx, sites, false); err != nil {
		t.Fatal(err)
	}
	got, err = r.Apply(ctx, sites[:1], false)
	if err != nil || got[0].Action != api.ActionUnchanged {
		t.Fatalf("the same again = %v, %v: the spec changed on the wire", got, err)
	}
	if list, err = r.List(ctx); err != nil || len(list) != 2 || list[0].Name != "blog" || list[0].Spec != nil {
		t.Fatalf("List = %+v, %v", list, err)
	}

	site, err := r.Get(ctx, "blog")
	if err != nil || site.Spec == nil || site.Spec.Digest() != site.SpecDigest || site.Addresses[0].String() != "10.77.0.12" {
		t.Fatalf("Get = %+v, %v", site, err)
	}
	if site, err = r.Wake(ctx, "blog"); err != nil || site.Tier != api.TierRunning {
		t.Fatalf("Wake = %+v, %v", site, err)
	}
	if list, err = r.Awake(ctx); err != nil || len(list) != 1 || list[0].Name != "blog" {
		t.Fatalf("Awake = %+v, %v", list, err)
	}
	if site, err = r.Circulate(ctx, "blog"); err != nil || site.Name != "blog" {
		t.Fatalf("Circulate = %+v, %v", site, err)
	}
	if found, err := r.Check(ctx, "blog"); err != nil || found.Site != "blog" || found.Tiers[0].Findings[0].What != "io_uring" {
		t.Fatalf("Check = %+v, %v", found, err)
	}
	if _, err := r.Check(ctx, "nobody"); !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("Check of what is not there: %v", err)
	}
	var metrics strings.Builder
	if err = r.Metrics(ctx, &metrics); err != nil || metrics.String() != "fcnode_sites 2\n" {
		t.Fatalf("Metrics = %q, %v", metrics.String(), err)
	}
	var arrivals strings.Builder
	since := api.ArrivalsOptions{Site: "blog", Since: time.Unix(600, 0), Until: time.Unix(1200, 0), Numbered: true}
	if err = r.Arrivals(ctx, &arrivals, since); err != nil || arrivals.String() != "blog | 10:20 true\n" {
		t.Fatalf("Arrivals = %q, %v", arrivals.String(), err)
	}
	if err = r.Arrivals(ctx, &arrivals, api.ArrivalsOptions{Site: "nobody"}); !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("Arrivals of what is not there: %v", err)
	}
	if why, err := r.Why(ctx, "blog", 5); err != nil || why.Pauses != 5 || why.Callers[0].Every != 300e9 || why.Decisions == nil {
		t.Fatalf("Why = %+v, %v", why, err)
	}
	if _, err := r.Why(ctx, "nobody", 5); !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("Why of what is not there: %v", err)
	}
	if _, err := r.Why(ctx, "blog", -1); !errors.Is(err, api.ErrInvalid) {
		t.Fatalf("Why with -1 decisions: %v", err)
	}
	if _, err = r.Park(ctx, "blog", false); !errors.Is(err, api.ErrBusy) {
		t.Fatalf("Park of a busy site: %v", err)
	}
	if site, err = r.Park(ctx, "blog", true); err != nil || site.Tier != api.TierCold {
		t.Fatalf("Park = %+v, %v", site, err)
	}
	if _, err = r.Circulate(ctx, "blog"); !errors.Is(err, api.ErrUnavailable) {
		t.Fatalf("Circulate of a parked site: %v", err)
	}
	if err = r.Delete(ctx, "blog"); err != nil {
		t.Fatal(err)
	}
	if err = r.Delete(ctx, "blog"); !errors.Is(err, api.ErrNotFound) || err.Error() != `site "blog": not found` {
		t.Fatalf("Delete of what is gone: %v", err)
	}
}

// The metrics have a listener of their own if they are to, and nothing else is there.
func TestServeMetrics(t *testing.T) {
	m := newMemory()
	server := api.NewServer(m, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.ServeMetrics(ctx, ln) }()
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/v1/sites": http.StatusNotFound, "/": http.StatusNotFound} {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || want == http.StatusOK && string(body) != "fcnode_sites 0\n" {
			t.Errorf("GET %s = %d, %q, %v", path, resp.StatusCode, body, err)
		}
	}
	cancel()
	if err := testutil.Receive(t, patience, "the end of the listener", served); err != nil {
		t.Error(err)
	}
}

func TestTracesAndInfo(t *testing.T) {
	r, ctx := start(t), t.Context()
	r.blog(t)
	traces, err := r.Traces(ctx, "blog", 2)
	if err != nil || len(traces) != 2 {
		t.Fatalf("Traces = %v, %v", traces, err)
	}
	want, _ := r.backend.Traces(ctx, "blog", 1)
	if diff := cmp.Diff(want[0], traces[0], cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Traces(ctx, "blog", 0); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("no traces asked for: %v", err)
	}
	info, err := r.Info(ctx)
	if err != nil || info.Version != "1.2.3" || info.Prefixes[0].String() != "10.77.0.0/16" {
		t.Errorf("Info = %+v, %v", info, err)
	}
}

func TestMutationsAreLoggedWithTheirPeer(t *testing.T) {
	r := start(t)
	r.blog(t)
	if _, err := r.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("method=POST path=/v1/sites peer.uid=%d peer.gid=%d peer.pid=%d", os.Getuid(), os.Getgid(), os.Getpid())
	if got := r.log.String(); !strings.Contains(got, want) || strings.Contains(got, "GET") {
		t.Errorf("log = %s\nwant %s, and no calls that change nothing", got, want)
	}
}

func TestRawRequests(t *testing.T) {
	r := start(t)
	r.blog(t)
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"health", "GET", "/healthz", "", 200, "ok"},
		{"no such path", "GET", "/v2/sites", "", 404, `"code":"not_found"`},
		{"empty list of traces", "GET", "/v1/sites/nobody/traces", "", 404, `site \"nobody\": not found`},
		{"not JSON", "POST", "/v1/sites", "name: blog", 400, `"code":"invalid"`},
		{"two values", "POST", "/v1/sites", `{"sites":[]} {}`, 400, "something follows"},
		{"unknown field", "POST", "/v1/sites", `{"site":[]}`, 400, `unknown field \"site\"`},
		{"no sites", "POST", "/v1/sites", `{"sites":[]}`, 400, "no sites"},
		{"bad spec", "POST", "/v1/sites", `{"sites":[{"name":"-"}]}`, 400, `"details":[{"site":"-"`},
		{"misspelt parameter", "GET", "/v1/events?folow=true", "", 400, "unknown parameter folow (allowed: [since last site follow])"},
		{"bad parameter", "POST", "/v1/sites/blog/park?force=yes", "", 400, `force=\"yes\": want true or false`},
		{"bad time", "GET", "/v1/sites/blog/logs?since=5m", "", 400, "want a time like"},
		{"exec without upgrade", "POST", "/v1/sites/blog/exec", `{"args":["true"]}`, 400, "fcnode-exec/2"},
	}
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer(r.socket)}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://x"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := hc.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s %s = %d %s\nwant %d %s", tt.method, tt.path, resp.StatusCode, body, tt.status, tt.want)
			}
		})
	}
}

func dialer(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	makeStale(t, stale)
	for _, tt := range []struct{ name, socket, want string }{
		{"no socket", filepath.Join(dir, "none"), "there is no socket"},
		{"stale socket", stale, "nobody listens on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := api.NewClient(tt.socket).List(t.Context())
			var conn *api.ConnError
			if !errors.Is(err, api.ErrUnreachable) || !errors.As(err, &conn) || !strings.Contains(err.Error(), tt.want) ||
				!strings.Contains(err.Error(), tt.socket) || !strings.Contains(conn.Hint(), "systemctl start fcnode") {
				t.Errorf("err = %v", err)
			}
		})
	}
	denied := &api.ConnError{Socket: "/run/s", Err: os.ErrPermission}
	if !strings.Contains(denied.Hint(), "group fcnode") {
		t.Errorf("hint for no permission = %s", denied.Hint())
	}
}

func TestClientContextEnds(t *testing.T) {
	r := start(t)
	r.blog(t)
	r.backend.waking = make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan error, 1)
	go func() {
		_, err := r.Wake(ctx, "blog")
		woken <- err
	}()
	testutil.Receive(t, patience, "the wake to begin", r.backend.begun)
	cancel()
	if err := testutil.Receive(t, patience, "the client", woken); !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	testutil.Receive(t, patience, "the backend's context to end", r.backend.begun)
}

func TestShutdownLetsCallsFinish(t *testing.T) {
	r := start(t)
	r.blog(t)
	r.backend.waking = make(chan error)
	woken := make(chan error, 1)
	go func() {
		_, err := r.Wake(t.Context(), "blog")
		woken <- err
	}()
	testutil.Receive(t, patience, "the wake to begin", r.backend.begun)
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	testutil.WaitFor(t, patience, "the socket to go", func() error {
		if _, err := os.Lstat(r.socket); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	r.backend.waking <- nil
	if err := testutil.Receive(t, patience, "the wake", woken); err != nil {
		t.Errorf("a call in progress was cut off: %v", err)
	}
	testutil.WaitClosed(t, patience, "the server", stopped)
}

// panicking is a backend with a bug.
type panicking struct{ *memory }

func (panicking) Get(context.Context, string) (api.Site, error) { panic("a bug") }

func (panicking) Events(context.Context, event.Query) iter.Seq2[event.Event, error] {
	return func(func(event.Event, error) bool) { panic("a bug") }
}

// TestPanicIsOneCalls: a call that panics is answered with an error that says so, is logged with its stack, and leaves the server and
// the connection to others.
func TestPanicIsOneCalls(t *testing.T) {
	r := startWith(t, func(m *memory) api.Backend { return panicking{m} })
	for range 2 {
		_, err := r.Get(t.Context(), "a")
		var wire *api.Error
		if !errors.As(err, &wire) || wire.Code != api.CodeInternal || !strings.Contains(wire.Message, "panic: a bug") || wire.Hint == "" {
			t.Fatalf("the call that panics gives %v", err)
		}
		for _, err := range r.Events(t.Context(), event.Query{}) {
			if !errors.As(err, &wire) || wire.Code != api.CodeInternal {
				t.Errorf("the stream that panics gives %v", err)
			}
		}
		if _, err := r.Info(t.Context()); err != nil {
			t.Errorf("another call: %v", err)
		}
	}
	if log := r.log.String(); !strings.Contains(log, "panicking.Get") {
		t.Errorf("no stack in the log: %s", log)
	}
}
