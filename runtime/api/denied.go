package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// Denial is a prefix of sources of which all packets are dropped.
type Denial struct {
	Prefix netip.Prefix `json:"prefix"`
	Since  time.Time    `json:"since"`
	// Until is missing where it is denied for good.
	Until time.Time `json:"until,omitzero"`
}

type (
	deniedAnswer struct {
		Denied []Denial `json:"denied"`
	}
	denyBody struct {
		Prefixes []netip.Prefix `json:"prefixes"`
		// ForNs is for how long, in nanoseconds; 0: for good.
		ForNs time.Duration `json:"forNs,omitempty"`
	}
	letInAnswer struct {
		Removed int `json:"removed"`
	}
)

// paramPrefix names the prefixes to let in, one for each time that it is given.
const paramPrefix = "prefix"

// letInBatch is how many prefixes fit into one request's URL.
const letInBatch = 1000

func (s *Server) denied(r *http.Request) (any, error) {
	all, err := s.backend.Denied(r.Context())
	return deniedAnswer{Denied: noNil(all)}, err
}

func (s *Server) deny(r *http.Request) (any, error) {
	var body denyBody
	if err := readBody(r, maxBody, &body); err != nil {
		return nil, err
	}
	if len(body.Prefixes) == 0 {
		return nil, fmt.Errorf("deny: no prefixes in the request: %w", ErrInvalid)
	}
	if body.ForNs < 0 {
		return nil, fmt.Errorf("deny for %s: want a time above 0, or none: %w", body.ForNs, ErrInvalid)
	}
	return struct{}{}, s.backend.Deny(r.Context(), body.Prefixes, body.ForNs)
}

func (s *Server) letIn(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	texts := q.values[paramPrefix]
	q.string(paramPrefix)
	if err := q.done(); err != nil {
		return nil, err
	}
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("let in %q: %w: %w", text, ErrInvalid, err)
		}
		prefixes = append(prefixes, p)
	}
	n, err := s.backend.LetIn(r.Context(), prefixes)
	return letInAnswer{Removed: n}, err
}

// Deny drops all packets of the prefixes; see [Backend.Deny].
func (c *Client) Deny(ctx context.Context, prefixes []netip.Prefix, lasting time.Duration) error {
	return c.call(ctx, http.MethodPost, "/v1/denied", nil, denyBody{Prefixes: prefixes, ForNs: lasting}, nil)
}

// LetIn takes prefixes off the list, and returns how many of them were on it.
func (c *Client) LetIn(ctx context.Context, prefixes []netip.Prefix) (removed int, err error) {
	for some := range slices.Chunk(prefixes, letInBatch) {
		q := url.Values{}
		for _, p := range some {
			q.Add(paramPrefix, p.String())
		}
		var answer letInAnswer
		if err := c.call(ctx, http.MethodDelete, "/v1/denied", q, nil, &answer); err != nil {
			return removed, err
		}
		removed += answer.Removed
	}
	return removed, nil
}

// Denied returns the list.
func (c *Client) Denied(ctx context.Context) ([]Denial, error) {
	var answer deniedAnswer
	err := c.call(ctx, http.MethodGet, "/v1/denied", nil, nil, &answer)
	return answer.Denied, err
}
