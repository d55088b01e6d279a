package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/detect/sleep"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// taught gives the node what a site would have taught it in months: how many visitors come, after what idle time it may
// sleep for them, and that it holds so much memory that any sleep pays. What keeps such a site awake is its objective.
func (n *node) taught(name string, share float64, timeout time.Duration) {
	n.t.Helper()
	const memory = 1 << 46 // pays also where a wake takes seconds
	text, err := json.Marshal(map[string]any{
		"tiers":    map[api.Tier]any{api.TierFrozen: map[string]any{"memory": memory}},
		"visitors": sleep.Visitors{Requests: 1000, Seconds: 100, Timeout: timeout, Share: share},
	})
	file := n.path(filepath.Join("state", "experience", name+".json"))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestRootObjectiveCold: a site sleeps when the share of its visitors that may find it asleep allows that, later after each
// visitor that did, sooner when many came who did not; one of which hardly anybody may find it asleep stays awake meanwhile.
func TestRootObjectiveCold(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	n.taught("lax", 0.1, 2*time.Second)
	n.taught("strict", 0.0001, time.Hour)
	deploy := func(name, cold string) *site { // a start that each visitor notices
		return n.deploy(name, "env: {GUEST: serve, START: 50ms}", "idle: auto", "tiers: [cold]", "objective: {cold: "+cold+"}")
	}
	lax, strict := deploy("lax", "10%"), deploy("strict", "0.01%")
	began := n.mark()
	n.outside.greet(strict.addr4(80))

	after := lax.asleepAfter("10 % of the requests may find it asleep; steered by what visitors met", 0)
	if after < time.Second || after > time.Minute {
		t.Fatalf("the site may sleep after %s, and was taught 2 s", after)
	}
	asleep := func(visitors int) {
		t.Helper()
		mark, begin := n.mark(), time.Now()
		first := n.outside.keep(lax.addr4(80))
		if err := first.ask(); err != nil {
			t.Fatal(err)
		}
		for range visitors - 1 { // while he is there, however slow they are, it does not sleep
			n.outside.greet(lax.addr4(80))
		}
		first.conn.Close()
		ev := n.awaitSlow(mark, lax.name, "parked")
		if awake := ev.Time.Sub(begin); awake < after {
			t.Errorf("it was awake for %s; visitors may find it asleep after %s: %q", awake, after, lax.story(mark))
		}
	}
	for wake := range 3 {
		asleep(1)
		later := lax.asleepAfter("10 % of the requests", wake+1)
		if later <= after {
			t.Errorf("after a visitor who found it asleep it sleeps after %s, before after %s", later, after)
		}
		after = later
	}
	asleep(50) // one of them finds it asleep; the next wake tells of all
	mark := n.mark()
	n.outside.greet(lax.addr4(80))
	lax.await(mark, "woken")
	if sooner := lax.asleepAfter("10 % of the requests", 5); sooner >= after {
		t.Errorf("after 50 visitors, of whom one found it asleep, it sleeps after %s, before after %s", sooner, after)
	}

	strict.asleepAfter("0.01 % of the requests may find it asleep; steered by what visitors met", 1)
	if got := kinds(strict.events(began), "parked", "frozen"); len(got) > 0 {
		t.Errorf("a site that must not be found asleep was put to sleep: %q", strict.story(began))
	}
	if v := strict.get(); v.Tier != api.TierRunning || v.Ladder[0].After.Duration() < 30*time.Minute {
		t.Errorf("a site that must not be found asleep is on tier %s, with the ladder %+v", v.Tier, v.Ladder)
	}
}

// asleepAfter is the idle time after which a site goes cold, once so many wakes have been learned; why is in its reason.
func (s *site) asleepAfter(why string, wakes int) (after time.Duration) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "the site's ladder", func() error {
		l := s.get().Ladder
		if len(l) != 1 || l[0].Tier != api.TierCold || l[0].Wakes != wakes || !strings.Contains(l[0].Reason, why) {
			return fmt.Errorf("it is %+v, want %d wakes and %q", l, wakes, why)
		}
		after = l[0].After.Duration()
		return nil
	})
	return after
}
