package e2e

import (
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootCheckSite: somebody who asks learns on which tiers a site can sleep, and what is in the way of others.
func TestRootCheckSite(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{more: "prepared: {max: 0}"})
	s := n.deploy("asked", "tiers: [frozen, prepared]", "idle: 1h")
	if out := n.cliFails("check", s.name); !strings.Contains(out, "prepared.max") && !strings.Contains(out, "spec asks for it") {
		t.Errorf("the spec asks for what the node does not do, and the answer is %s", out)
	}
	s.wake()
	got, err := n.api.Check(n.ctx(), s.name)
	if err != nil || got.Replica != s.replicas(1)[0].ID || len(got.Tiers) != 5 {
		t.Fatalf("the check of a running site: %+v, %v", got, err)
	}
	for _, tier := range got.Tiers {
		if tier.Usable != (len(tier.Findings) == 0) {
			t.Errorf("%s: usable %v, with %+v", tier.Tier, tier.Usable, tier.Findings)
		}
		if (tier.Tier == api.TierFrozen || tier.Tier == api.TierCold) && !tier.Usable {
			t.Errorf("%s cannot be had: %+v", tier.Tier, tier.Findings)
		}
		if tier.Tier == api.TierPrepared && (tier.Usable || !tier.Asked) {
			t.Errorf("prepared: %+v", tier)
		}
	}
}
