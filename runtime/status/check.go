package status

import (
	"context"
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Check implements api.Backend: what the node lacks for a tier, and what the
// processes of a running replica hold that cannot be put into an image.
func (s *Status) Check(ctx context.Context, name string) (api.SiteCheck, error) {
	e, err := s.table.ByName(name)
	if err != nil {
		return api.SiteCheck{}, err
	}
	kept, err := s.host.Store.Get(name)
	if err != nil {
		return api.SiteCheck{}, err
	}
	out := api.SiteCheck{Site: name}
	r, err := e.Running(ctx, "")
	if err == nil {
		out.Replica = r.Name
	} else {
		r = nil // it sleeps
	}
	for _, tier := range []detect.Tier{detect.TierFrozen, detect.TierReclaimed, detect.TierPrepared, detect.TierCheckpointed, detect.TierCold} {
		t := api.TierCheck{Tier: tier}
		t.Asked = slices.ContainsFunc(kept.Spec.Tiers.Rungs, func(r spec.Rung) bool { return r.Tier == string(tier) })
		if tier == detect.TierPrepared {
			t.Asked = t.Asked || kept.Spec.Scale.Spare.Tier == spec.TierPrepared
		}
		if err := s.host.Means.Can(tier); err != nil {
			t.Findings = append(t.Findings, api.Finding{What: err.Error()})
		}
		if tier == detect.TierCheckpointed && r != nil {
			found, err := preflight(r)
			if err != nil {
				return out, err
			}
			t.Findings = append(t.Findings, found...)
		}
		t.Usable = len(t.Findings) == 0
		out.Tiers = append(out.Tiers, t)
	}
	return out, nil
}

func preflight(r *life.Replica) ([]api.Finding, error) {
	found, err := r.Ctr.Preflight()
	if err != nil {
		return nil, fmt.Errorf("look at the processes of %s: %w", r.Name, err)
	}
	out := make([]api.Finding, 0, len(found))
	for _, f := range found {
		out = append(out, api.Finding{Process: f.Process, What: f.What, Remedy: f.Remedy})
	}
	return out, nil
}
