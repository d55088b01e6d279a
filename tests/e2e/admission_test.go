package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// held is what a cgroup holds of memory, in bytes, without what the kernel takes back at once.
func held(t *testing.T, group string) uint64 {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	held, err := strconv.ParseUint(strings.TrimSpace(read("memory.current")), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(read("memory.stat")) {
		var idle uint64
		if _, err := fmt.Sscanf(line, "inactive_file %d", &idle); err == nil {
			held -= min(idle, held)
		}
	}
	return held
}

func writeNumber(t *testing.T, group, name string, value uint64) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, name), []byte(strconv.FormatUint(value, 10)), 0); err != nil {
		t.Fatal(err)
	}
}

// hold has the site hold 48 MiB, in files in memory.
func (s *site) hold() {
	s.n.t.Helper()
	for i := range 12 {
		if _, err := s.n.outside.ask(http.MethodPost, s.addr4(80), fmt.Sprintf("/file?path=/dev/shm/%d", i), bytes.NewReader(make([]byte, 4<<20))); err != nil {
			s.n.t.Fatal(err)
		}
	}
}

// TestRootStartsWithinMemory: where the sites' cgroup has no memory left for a start, who sleeps makes room; where nobody
// does, the visitor is refused, and whoever is awake serves on.
func TestRootStartsWithinMemory(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	testutil.RequireFeature(t, "memory controller")
	n := newNode(t, options{})
	const left = 24 << 20
	const tiers = "tiers: [{tier: frozen, after: 1s}, {tier: cold, after: 9h}]"
	sleeps, second, third := n.deploy("sleeps", "idle: 1s", tiers), n.deploy("second", "idle: 1s", tiers), n.deploy("third", "idle: 1s", tiers)
	mark := n.mark()
	sleeps.hold()
	n.awaitSlow(mark, sleeps.name, "frozen")
	sites := filepath.Dir(cgroupOf(t, sleeps.pid()))
	writeNumber(t, sites, "memory.swap.max", 0)
	writeNumber(t, sites, "memory.max", held(t, sites)+left) // 64 MiB are assumed of a site that never ran, or half of all
	visitor := n.outside.keep(second.addr4(80))
	if err := visitor.ask(); err != nil {
		t.Fatal(err)
	}
	second.hold()
	if ev := n.awaitSlow(mark, sleeps.name, "parked"); !strings.Contains(ev.Reason, "second is to start, for which") {
		t.Errorf("it was parked: %s", ev.Reason)
	}
	writeNumber(t, sites, "memory.max", held(t, sites)+left)
	n.outside.refused(n, third.addr4(80))
	if ev := third.await(mark, "failed"); !strings.Contains(ev.Reason, "the node has no memory for it") {
		t.Errorf("its start failed: %s", ev.Reason)
	}
	if err := visitor.ask(); err != nil {
		t.Errorf("who is awake: %v", err)
	}
	says(t, "metrics", n.cli("metrics"), "fcnode_evictions_total 1")
}
