package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

// recorded is how many arrivals of a site the node has recorded.
func (s *site) recorded() (sum int, err error) {
	for line := range strings.Lines(s.n.cli("record", s.name)) {
		name, minutes, _ := strings.Cut(line, "|")
		if strings.TrimSpace(name) != s.name {
			continue
		}
		for _, m := range strings.Fields(minutes) {
			_, count, _ := strings.Cut(m, ":")
			n, err := strconv.Atoi(count)
			if err != nil {
				return 0, fmt.Errorf("%q: %w", line, err)
			}
			sum += n
		}
	}
	return sum, nil
}

func (s *site) wantRecorded(want int) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the record", func() error {
		got, err := s.recorded()
		if err == nil && got != want {
			err = fmt.Errorf("%d arrivals are recorded, want %d", got, want)
		}
		return err
	})
}

// TestRootArrivalsAreRecorded: each visitor of a site counts once: who woke it, who came while the daemon was dead, and
// those of replicas that have ended. What was recorded can be replayed.
func TestRootArrivalsAreRecorded(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s, quiet := n.deploy("visited"), n.deploy("quiet")
	for range 3 {
		n.outside.greet(s.addr4(80))
	}
	s.wantRecorded(3)
	n.kill()
	n.outside.greet(s.addr4(80))
	n.outside.greet(s.addr6(80))
	n.start()
	s.wantRecorded(5)
	s.park()
	n.outside.greet(s.addr4(80))
	s.wantRecorded(6)
	s.park()
	if out := n.cli("why", s.name); !strings.HasPrefix(out, "visited is asleep as cold since ") || !strings.Contains(out, "Keeping it frozen holds ") {
		t.Errorf("why says %q", out)
	}
	n.stop()
	n.start()
	s.wantRecorded(6)
	quiet.wantRecorded(0)
	if out := n.cli("replay", "--all", "--policy", "plans,oracle"); !strings.HasPrefix(out, "2 sites, 6 requests") {
		t.Errorf("replay says %q", out)
	}
}
