package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootWorkKeepsAwake: a site with its lock file stays awake without visitors, and sleeps when that is gone.
func TestRootWorkKeepsAwake(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	dir := n.path("data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock := n.write("data/busy", "")
	s := n.deploy("worker", "idle: 1s", "tiers: [frozen]", "busy: {file: /data/busy}", "volumes: [{source: "+dir+", target: /data}]")
	mark := n.mark()
	n.outside.greet(s.addr4(80))
	if ev := s.await(mark, "busy"); ev.Reason != "/data/busy is there" {
		t.Errorf("busy, because %s", ev.Reason)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	s.await(mark, "frozen")
}

// The guest's answers for these tests:
//
//	GET /work?on=cpu|disk  works on in the background, after the answer
//	GET /rest              ends that
//	GET /keep?to=…         opens a connection and keeps it
func busyGuest(mux *http.ServeMux) {
	var works atomic.Bool
	mux.HandleFunc("GET /work", func(_ http.ResponseWriter, r *http.Request) {
		on := r.FormValue("on")
		works.Store(true)
		go func() {
			for works.Load() {
				if on == "disk" && writeDirect("/data/work", 4<<20) != nil {
					return
				}
			}
		}()
	})
	mux.HandleFunc("GET /rest", func(http.ResponseWriter, *http.Request) { works.Store(false) })
	var kept []net.Conn
	mux.HandleFunc("GET /keep", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.Dial("tcp", r.FormValue("to"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		kept = append(kept, conn)
	})
}

// TestRootBusyAsSeenByTheKernel: by default a site that computes, or writes to a disk, is not put to sleep in the middle. A connection that it merely keeps
// lets it sleep, and is shown.
func TestRootBusyAsSeenByTheKernel(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	dir := n.path("data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := n.deploy("worker", "idle: 1s", "tiers: [frozen]", "volumes: [{source: "+dir+", target: /data}]")
	works := map[string]string{"cpu": "of a core"}
	if testutil.Has(t, "io controller") {
		works["disk"] = "MiB/s"
	}
	for on, why := range works {
		mark := n.mark()
		n.outside.mustGet(s.addr4(80), "/work?on="+on)
		if ev := s.await(mark, "busy"); !strings.Contains(ev.Reason, why) && !strings.Contains(ev.Reason, works["cpu"]) {
			t.Errorf("%s: busy, because %s", on, ev.Reason)
		}
		mark = n.mark()
		n.outside.mustGet(s.addr4(80), "/rest")
		s.await(mark, "frozen")
	}
	mark := n.mark()
	port := strings.TrimSuffix(n.outside.serve(t), "/")
	n.outside.mustGet(s.addr4(80), "/keep?to=198.51.100.2"+port)
	s.await(mark, "frozen")
	if v := s.get(); v.OwnConns != 1 {
		t.Errorf("it holds %d connections, want the one that it keeps", v.OwnConns)
	}
	var metrics bytes.Buffer
	if err := n.api.Metrics(n.ctx(), &metrics); err != nil {
		t.Fatal(err)
	}
	if want := `fcnode_site_own_connections{site="worker"} 1`; !strings.Contains(metrics.String(), want) {
		t.Errorf("the metrics do not say %s", want)
	}
	if line := n.cli("list"); !strings.Contains(line, "0+1") {
		t.Errorf("list does not say that it holds a connection:\n%s", line)
	}
}

// TestRootSchedule: a command that was missed while no daemon ran is run once by the next one, in a site that is woken for it and sleeps again; what it prints
// is in the site's log, its exit code in an event.
func TestRootSchedule(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("cron", "idle: 1h", "tiers: [frozen]", `schedule: [{at: "0 0 1 1 *", exec: [/site, says]}, {at: "0 0 1 2 *", exec: [/missing]}]`)
	n.stop()
	b, err := json.Marshal(map[string]any{"until": time.Now().AddDate(-2, 0, 0), "tasks": []string{"0 0 1 1 * /site says", "0 0 1 2 * /missing"}})
	if err != nil {
		t.Fatal(err)
	}
	n.write("state/schedule/cron.json", string(b))
	n.start()
	ran := s.await(0, "ran")
	if ran.Reason != "0 0 1 1 *: exit code 7" || !strings.Contains(ran.Text, "no daemon could run it") {
		t.Errorf("%+v", ran)
	}
	if ev := s.await(0, "not-ran"); !strings.Contains(ev.Reason, "/missing") {
		t.Errorf("%+v", ev)
	}
	s.await(0, "frozen") // long before its idle time is over
	var said []string
	for line, err := range n.api.Logs(n.ctx(), s.name, api.LogOptions{Tail: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, line.Text)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "it says this\n") && !strings.HasSuffix(text, "it says this") {
		t.Errorf("the log has %q", text)
	}
	if v := s.get(); v.Conns.Total != 0 {
		t.Errorf("it was counted as %d visits", v.Conns.Total)
	}
}
