package e2e

import (
	"encoding/json"
	"os"
	"strings"
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
