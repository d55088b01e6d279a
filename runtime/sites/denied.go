package sites

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/deny"
	"github.com/fcnode/fcnode/runtime/life"
)

// Sources answers the API about the sources that are denied: they reach no site.
type Sources struct {
	list *deny.List
	log  *slog.Logger
}

// OpenDenied reads the list of denied sources and brings the kernel in line.
func OpenDenied(h *life.Host, k deny.Kernel) (*Sources, error) {
	list, err := deny.Open(deny.Options{
		Kernel: k, Disk: h.Store, Log: h.Log, Clock: time.Now, Now: bpf.Now, Adopt: h.Store.Recovered() != nil,
	})
	return &Sources{list, h.Log}, err
}

// Count is how many prefixes are on the list.
func (s *Sources) Count() int { return s.list.Count() }

// Prune clears away what has ended.
func (s *Sources) Prune() {
	if err := s.list.Prune(); err != nil {
		s.log.Error("denied sources whose time is over stay on the list", "error", err)
	}
}

// Deny implements api.Backend.
func (s *Sources) Deny(_ context.Context, prefixes []netip.Prefix, lasting time.Duration) error {
	err := s.list.Add(prefixes, lasting)
	if errors.Is(err, deny.ErrBad) {
		return fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	return err
}

// LetIn implements api.Backend.
func (s *Sources) LetIn(_ context.Context, prefixes []netip.Prefix) (int, error) {
	return s.list.Remove(prefixes)
}

// Denied implements api.Backend.
func (s *Sources) Denied(context.Context) ([]api.Denial, error) {
	var out []api.Denial
	for _, entry := range s.list.All() {
		out = append(out, api.Denial(entry))
	}
	return out, nil
}
