package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootScanWakesFew: who goes through all sites wakes as many as the configuration allows, which is told once; they sleep again as soon as it is clear that
// nobody uses them; and others come in meanwhile.
func TestRootScanWakesFew(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	const allowed = 2
	n := newNode(t, options{more: fmt.Sprintf("wake: {unused: 1s, source: {burst: %d, every: 1h}}", allowed)})
	var all []*site
	for i := range allowed + 3 {
		all = append(all, n.deploy(fmt.Sprintf("scanned-%d", i), "idle: 5m", "tiers: [cold]"))
	}
	mark := n.mark()
	for i, s := range all {
		if i < allowed {
			conn, err := n.outside.connect(s.addr4(80))
			if err != nil {
				t.Fatal(err)
			}
			conn.Close() // an open port: that is all it wants to know
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		conn, err := n.outside.dial(ctx, "tcp", s.addr4(80).String())
		cancel()
		if err == nil {
			conn.Close()
		}
		if late, is := errors.AsType[net.Error](err); !is || !late.Timeout() {
			t.Errorf("site %d was scanned, with the end %v", i, err)
		}
	}
	for i, s := range all {
		want := 0
		if i < allowed {
			want = 1
			if ev := s.await(mark, "parked"); ev.Reason != "no connection came of its wake within 1s" {
				t.Errorf("site %d is parked because %q", i, ev.Reason)
			}
		}
		if got := s.starts(mark); got != want {
			t.Errorf("site %d: %d starts, want %d", i, got, want)
		}
	}
	n.await(mark, "limited")
	node := &site{n: n} // its events are those of all sites
	var told []string
	for _, ev := range node.events(mark) {
		if ev.Kind == "limited" {
			told = append(told, ev.Reason)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], fmt.Sprintf("wake.source of the configuration allows: %d,", allowed)) {
		t.Errorf("told %q, want it once", told)
	}
	n.local.greet(all[allowed].addr4(80))
}
