package policy

import (
	"errors"
	"slices"
	"testing"

	"github.com/fcnode/fcnode/detect"
)

// TestNotHad: whoever applies a spec is told what the node does not do of it.
func TestNotHad(t *testing.T) {
	none := &Means{}
	some := &Means{Prepared: 1}
	noCRIU := func(t detect.Tier) error {
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
		can        func(detect.Tier) error
		want       []string
	}{
		{"a prepared spare one", "scale: {max: 2, spare: prepared}", none.Can, []string{noSpare}},
		{"on a node that has some", "scale: {max: 2, spare: prepared}", some.Can, nil},
		{"a frozen spare one", "scale: {max: 2, spare: 1}", none.Can, nil},
		{"a tier", "tiers: [frozen, {tier: prepared, after: 1h}]", none.Can, []string{noTier}},
		{"both", "tiers: [prepared], scale: {max: 2, spare: prepared}", none.Can, []string{noTier, noSpare}},
		{"tiers that the node chooses", "tiers: auto", none.Can, nil},
		{"another tier", "tiers: [checkpointed]", noCRIU, []string{"tiers: checkpointed is not used: there is no criu"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Unmet(parseSite(t, c.spec), c.can); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestUnprepared: what the configuration does not allow any more is counted when the sites are read.
func TestUnprepared(t *testing.T) {
	none, some := &Means{}, &Means{Prepared: 1}
	specs := []string{"idle: 1s", "scale: {max: 2, spare: prepared}", "tiers: [prepared]", "scale: {max: 2, spare: 1}", "tiers: [cold]"}
	for _, c := range []struct {
		n    *Means
		want int
	}{{none, 2}, {some, 0}} {
		var u Unprepared
		for _, s := range specs {
			u.Add(parseSite(t, s), c.n.Can)
		}
		if u.Sites != c.want || (u.Example == "a") != (c.want > 0) {
			t.Errorf("counted %+v, want %d", u, c.want)
		}
	}
}
