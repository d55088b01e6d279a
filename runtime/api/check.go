package api

import (
	"context"
	"net/http"
)

// SiteCheck says on which tiers a site can sleep, and what is in the way of the
// others.
type SiteCheck struct {
	Site string `json:"site"`
	// Replica that was looked at; empty where none runs, and then what only its
	// processes can tell is not known.
	Replica string      `json:"replica,omitempty"`
	Tiers   []TierCheck `json:"tiers"`
}

// TierCheck is about one tier.
type TierCheck struct {
	Tier Tier `json:"tier"`
	// Usable: nothing that was looked at is in the way.
	Usable bool `json:"usable"`
	// Asked: the spec's list has it.
	Asked    bool      `json:"asked,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is one thing that is in the way.
type Finding struct {
	// Process is "name (number)"; empty where it is the node's matter.
	Process string `json:"process,omitempty"`
	What    string `json:"what"`
	Remedy  string `json:"remedy,omitempty"`
}

func (s *Server) check(r *http.Request) (any, error) {
	return s.backend.Check(r.Context(), r.PathValue("site"))
}

// Check says on which tiers a site can sleep.
func (c *Client) Check(ctx context.Context, name string) (SiteCheck, error) {
	var answer SiteCheck
	err := c.call(ctx, http.MethodGet, sitePath(name, "/check"), nil, nil, &answer)
	return answer, err
}
