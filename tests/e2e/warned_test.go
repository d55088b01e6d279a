package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootPreparedSpareThatIsNotKept: a node that allows no prepared replicas says so to whoever asks for one, and scales out without.
func TestRootPreparedSpareThatIsNotKept(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "prepared: {max: 0}"})
	file := n.write("shop.yaml", n.spec("shop", "scale: {max: 2, target: {conns: 4}, spare: prepared}"))
	mark := n.mark()
	says(t, "a dry run", n.cli("apply", "--dry-run", "-f", file), "warning", "scale.spare", "prepared.max")
	says(t, "apply", n.cli("apply", "-f", file), "warning", "scale.spare", "prepared.max")
	if applied := n.awaitSite(mark, "shop", "applied"); !strings.Contains(applied.Text, "scale.spare") || applied.Fields["warnings"] == nil {
		t.Errorf("the event says %q, %v", applied.Text, applied.Fields)
	}
	says(t, "get", n.cli("get", "shop"), "no spare", "prepared.max")
	says(t, "check", n.cliFails("check", "shop"), "prepared.max", "the spec asks for it")

	s := &site{n: n, name: "shop"}
	for _, a := range s.get().Addresses {
		s.setAddr(a)
	}
	for range 8 {
		n.outside.keep(s.addr4(80))
	}
	s.ready(2)
	for range 30 { // one of them goes to the new one
		n.local.greet(s.addr4(80))
	}
	if joined := s.await(mark, "joined"); joined.Fields["from"] != string(api.TierCold) {
		t.Errorf("the second replica came from %v", joined.Fields["from"])
	}
	n.kill()
	n.start()
	log, err := os.ReadFile(n.path("daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	says(t, "the next daemon", string(log), "sites ask for prepared replicas and get none")
}
