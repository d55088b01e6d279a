package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// taught gives the node what a site would have taught it: that it holds so much memory that any sleep pays, whatever a wake
// takes on an emulated machine.
func (n *node) taught(name string) {
	n.t.Helper()
	text, err := json.Marshal(map[string]any{"tiers": map[api.Tier]any{api.TierFrozen: map[string]any{"memory": 1 << 46}}})
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

// TestRootServiceLevels: a site sleeps within seconds by its plan; a visitor who waits for longer than its class allows makes waiting
// dearer for that class, one who waits for longer than the site's own objective allows for that site; kill -9 does not lose the price, and a class
// that the configuration has no more is the standard one.
func TestRootServiceLevels(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "wake: {unused: 1s}\nclasses: {hurried: {late: 1%, over: 20ms}}"})
	n.taught("shared")
	n.taught("alone")
	deploy := func(name, level string) *site { // a start that each visitor notices
		return n.deploy(name, "env: {GUEST: serve, START: 50ms}", "idle: auto", "tiers: [cold]", level)
	}
	wrong := n.write("wrong.yaml", n.spec("wrong", "class: hurry"))
	says(t, "apply", n.cliFails("apply", "-f", wrong), "wrong.yaml:", "class: the configuration has no class \"hurry\", only hurried, standard")
	dear := n.write("alone.yaml", n.spec("alone", "env: {GUEST: serve, START: 50ms}", "idle: auto", "tiers: [cold]", "objective: {cold: 10%}"))
	says(t, "apply", n.cli("apply", "-f", dear), "warning", "objective.cold: 10% of this site's own requests may wait for over 10ms")

	shared, alone := deploy("shared", "class: hurried"), deploy("alone", "objective: {cold: 10%}")
	mark := n.mark()
	n.outside.greet(shared.addr4(80))
	n.outside.greet(alone.addr4(80))
	for _, s := range []*site{shared, alone} {
		if l := s.get().Ladder; len(l) != 1 || l[0].Tier != api.TierCold || l[0].After.Duration() != 5*time.Second {
			t.Errorf("the ladder of %s is %+v", s.name, l)
		}
		n.awaitSlow(mark, s.name, "parked")
	}
	was := shared.level("class hurried", func(l *api.Level) bool { return l.Class == "hurried" && l.Price > 600 && l.Share > 0 })
	alone.level("its own", func(l *api.Level) bool { return l.Class == "" && l.Price > 600 && l.Share > 0 })
	says(t, "get", n.cli("get", "shared"), "class hurried: 1% over 20ms", "lately", "GiB·s for a second of waiting")
	says(t, "why", n.cli("why", "shared"), "Its service level is class hurried")
	says(t, "metrics", n.cli("metrics"), `fcnode_class_late_total{class="hurried"} 1`, `fcnode_class_price{class="standard"} 600`)

	testutil.WaitFor(t, patience, "the price on disk", func() error {
		b, err := os.ReadFile(n.path("state/plans.json"))
		var kept struct {
			Classes map[string]struct{ V float64 }
		}
		if err == nil {
			err = json.Unmarshal(b, &kept)
		}
		if v := kept.Classes["hurried"].V; err == nil && v != was.Price {
			err = fmt.Errorf("%g is kept of %g", v, was.Price)
		}
		return err
	})
	n.kill()
	n.start()
	shared.level("the same after kill -9", func(l *api.Level) bool { return l.Price == was.Price })

	n.kill()
	config, err := os.ReadFile(n.path("fcnode.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("fcnode.yaml", strings.Replace(string(config), "hurried:", "patient:", 1))
	n.start()
	shared.level("of a class that is gone", func(l *api.Level) bool { return l.Class == "standard" && l.Missing == "hurried" && l.Price == 600 })
	says(t, "get", n.cli("get", "shared"), "the configuration has no class hurried")
	log, err := os.ReadFile(n.path("daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	says(t, "the log", string(log), "sites name a class that the configuration does not have")
}

// level waits for the site's service level to be as it should.
func (s *site) level(what string, is func(*api.Level) bool) (out api.Level) {
	s.n.t.Helper()
	testutil.WaitFor(s.n.t, patience, "a service level, "+what, func() error {
		l := s.get().Level
		if l == nil || !is(l) {
			return fmt.Errorf("it is %+v", l)
		}
		out = *l
		return nil
	})
	return out
}
