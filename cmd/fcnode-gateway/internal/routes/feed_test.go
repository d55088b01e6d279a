package routes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// daemon is one that tells routes.
type daemon struct {
	t      *testing.T
	socket string
	server *http.Server
	lines  chan Update // to be sent
}

// newDaemon listens, again after an earlier one that ended.
func newDaemon(t *testing.T, socket string, first ...Update) *daemon {
	t.Helper()
	d := &daemon{t: t, socket: socket, lines: make(chan Update, 64)}
	os.Remove(socket)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/v1/routes?follow=true" {
			http.NotFound(w, r)
			return
		}
		enc := json.NewEncoder(w)
		for _, u := range first {
			_ = enc.Encode(u)
		}
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case u := <-d.lines:
				_ = enc.Encode(u)
			case <-r.Context().Done():
				return
			}
		}
	})}
	go d.server.Serve(ln) //nolint:errcheck // it ends when the test does
	t.Cleanup(func() { d.server.Close() })
	return d
}

// snapshot is a whole feed of these routes.
func snapshot(routes ...Route) []Update {
	out := []Update{{Version: Version}}
	for _, r := range routes {
		out = append(out, Update{Route: &r})
	}
	return append(out, Update{Synced: true})
}

func follow(t *testing.T, f *Feed) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Follow(ctx); close(done) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	t.Cleanup(stop)
	return stop
}

func newFeed(t *testing.T, dir string, log io.Writer) (*Feed, <-chan struct{}) {
	t.Helper()
	changed := make(chan struct{}, 1000)
	return &Feed{
		Socket: filepath.Join(dir, "s"), File: filepath.Join(dir, "routes.jsonl"), Table: &Table{},
		Log: slog.New(slog.NewTextHandler(log, nil)), Changed: func() { changed <- struct{}{} },
	}, changed
}

// until waits for changes until the table has what is wanted.
func until(t *testing.T, f *Feed, changed <-chan struct{}, name, site string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		e, ok := f.Table.Lookup(name)
		if ok == (site != "") && (!ok || e.Site.Site == site) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s never led to %q", name, site)
		}
	}
}

// The table follows the daemon, stays when it dies, is current again when the next one comes, and is there for a gateway that
// starts while there is none.
func TestFeedOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	f, changed := newFeed(t, dir, io.Discard)
	d := newDaemon(t, f.Socket, snapshot(route("a", "", "a.example"), route("b", "", "b.example"))...)
	stop := follow(t, f)
	until(t, f, changed, "b.example", "b")
	c := route("c", "", "c.example")
	d.lines <- Update{Route: &c}
	d.lines <- Update{Gone: "b"}
	until(t, f, changed, "c.example", "c")
	until(t, f, changed, "b.example", "")
	d.server.Close()
	// The next daemon no longer has a: what it says at its start is all there is.
	newDaemon(t, f.Socket, snapshot(c, route("d", "", "d.example"))...)
	until(t, f, changed, "d.example", "d")
	until(t, f, changed, "a.example", "")
	stop()

	again, _ := newFeed(t, dir, io.Discard)
	again.Load()
	expect(t, again.Table, map[string]string{"c.example": "c", "d.example": "d", "a.example": ""})
}

// While a feed is not complete, as when the daemon dies in the middle of it, no site is lost.
func TestFeedCutShort(t *testing.T) {
	f, _ := newFeed(t, t.TempDir(), io.Discard)
	f.Table.Put(route("a", "", "a.example"))
	b := route("b", "", "b.example")
	text, _ := json.Marshal(Update{Route: &b})
	for _, feed := range []string{
		"", `{"version":1}` + "\n", `{"version":1}` + "\n" + string(text) + "\n", `{"version":1}` + "\n" + `{"rou`,
		`{"version":1}` + "\n" + `{"error":{"message":"the daemon is stopping"}}` + "\n",
		`{"version":2}` + "\n" + `{"synced":true}` + "\n", `{"synced":true}` + "\n",
	} {
		if err := f.read(strings.NewReader(feed), func(*Update) {}); err == nil {
			t.Errorf("no error from %q", feed)
		}
		expect(t, f.Table, map[string]string{"a.example": "a", "b.example": ""})
	}
}

// A file that cannot be read, torn say, costs nothing but what was in it.
func TestFeedOfABadFile(t *testing.T) {
	var log strings.Builder
	f, _ := newFeed(t, t.TempDir(), &log)
	if f.Load(); log.Len() > 0 {
		t.Errorf("without a file it says %s", &log)
	}
	if err := os.WriteFile(f.File, []byte(`{"version":1}`+"\n"+`{"route":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if f.Load(); !strings.Contains(log.String(), "the last known routes cannot be read") {
		t.Errorf("of a torn file it says %s", &log)
	}
}

// Where the routes cannot be written, as on a full disk, the last good file stays and the log says so; what a killed gateway was
// writing is gone with the next that can.
func TestFeedWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	var log strings.Builder
	f, _ := newFeed(t, dir, &log)
	f.Table.Put(route("a", "", "a.example"))
	if err := os.WriteFile(f.File+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.save()
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 || log.Len() > 0 {
		t.Fatalf("%v, %v; the log: %s", names, err, &log)
	}
	f.Table.Put(route("b", "", "b.example"))
	if err := os.Symlink("/dev/full", f.File+".new"); err != nil {
		t.Fatal(err)
	}
	f.save()
	if !strings.Contains(log.String(), "the routes are not on disk") || !strings.Contains(log.String(), "no space left") {
		t.Errorf("the log: %s", &log)
	}
	again, _ := newFeed(t, dir, io.Discard)
	again.Load()
	expect(t, again.Table, map[string]string{"a.example": "a", "b.example": ""})
}

// 10,000 sites are there within a second of their first line (here by a socket, with the encoding on the other side).
func TestFeedOfManySites(t *testing.T) {
	const sites = 10_000
	var all []Route
	for i := range sites {
		all = append(all, route(fmt.Sprintf("s%d", i), "apex", fmt.Sprintf("s%d.example", i)))
	}
	f, changed := newFeed(t, t.TempDir(), io.Discard)
	newDaemon(t, f.Socket, snapshot(all...)...)
	begin := time.Now()
	follow(t, f)
	until(t, f, changed, "www.s9999.example", "s9999")
	t.Logf("%d sites after %s", sites, time.Since(begin))
	if n := len(f.Table.Sites()); n != sites {
		t.Errorf("%d sites", n)
	}
}

func BenchmarkReplace10000(b *testing.B) {
	sets := make([][]Route, 2)
	for i := range 10_000 {
		for j := range sets {
			sets[j] = append(sets[j], route(fmt.Sprintf("s%d", i), "", fmt.Sprintf("s%d-%d.example", i, j)))
		}
	}
	var table Table
	for i := 0; b.Loop(); i++ {
		table.Replace(sets[i%2])
	}
}
