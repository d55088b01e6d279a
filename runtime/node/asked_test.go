package node

import (
	"errors"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/config"
)

// TestNotHad: whoever applies a spec is told what the node does not do of it.
func TestNotHad(t *testing.T) {
	none := &Node{cfg: config.Config{}} // prepared.max: 0
	some := &Node{cfg: config.Config{Prepared: config.Prepared{Max: 1}}}
	noCRIU := func(t detect.Tier, _ bool) error {
		if t == detect.TierCheckpointed {
			return errors.New("there is no criu")
		}
		return nil
	}
	const (
		noSpare = "scale.spare: no replica is kept prepared: the configuration allows none (prepared.max)"
		noTier  = "tiers: prepared is not used: the configuration allows none (prepared.max)"
	)
	for _, c := range []struct {
		name, spec string
		can        func(detect.Tier, bool) error
		want       []string
	}{
		{"a prepared spare one", "scale: {max: 2, spare: prepared}", none.can, []string{noSpare}},
		{"on a node that has some", "scale: {max: 2, spare: prepared}", some.can, nil},
		{"a frozen spare one", "scale: {max: 2, spare: 1}", none.can, nil},
		{"a tier", "tiers: [frozen, {tier: prepared, after: 1h}]", none.can, []string{noTier}},
		{"both", "tiers: [prepared], scale: {max: 2, spare: prepared}", none.can, []string{noTier, noSpare}},
		{"tiers that the node chooses", "tiers: auto", none.can, nil},
		{"another tier", "tiers: [checkpointed]", noCRIU, []string{"tiers: checkpointed is not used: there is no criu"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := notHad(parseSite(t, c.spec), c.can); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestUnprepared: what the configuration does not allow any more is counted when the sites are read.
func TestUnprepared(t *testing.T) {
	none, some := &Node{}, &Node{cfg: config.Config{Prepared: config.Prepared{Max: 1}}}
	specs := []string{"idle: 1s", "scale: {max: 2, spare: prepared}", "tiers: [prepared]", "scale: {max: 2, spare: 1}", "tiers: [cold]"}
	for _, c := range []struct {
		n    *Node
		want int
	}{{none, 2}, {some, 0}} {
		var u unprepared
		for _, s := range specs {
			u.add(parseSite(t, s), c.n.can)
		}
		if u.count != c.want || (u.first == "a") != (c.want > 0) {
			t.Errorf("counted %+v, want %d", u, c.want)
		}
	}
}
