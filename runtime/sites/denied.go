package sites

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/deny"
)

// OpenDenied reads the list of denied sources and brings the kernel in line.
func (t *Table) OpenDenied(k deny.Kernel) (err error) {
	t.DenyList, err = deny.Open(deny.Options{
		Kernel: k, Disk: t.host.Store, Log: t.host.Log, Clock: time.Now, Now: bpf.Now, Adopt: t.host.Store.Recovered() != nil,
	})
	return err
}

// PruneDenied clears away what has ended.
func (t *Table) PruneDenied() {
	if err := t.DenyList.Prune(); err != nil {
		t.host.Log.Error("denied sources whose time is over stay on the list", "error", err)
	}
}

// Deny implements api.Backend.
func (t *Table) Deny(_ context.Context, prefixes []netip.Prefix, lasting time.Duration) error {
	err := t.DenyList.Add(prefixes, lasting)
	if errors.Is(err, deny.ErrBad) {
		return fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	return err
}

// LetIn implements api.Backend.
func (t *Table) LetIn(_ context.Context, prefixes []netip.Prefix) (int, error) {
	return t.DenyList.Remove(prefixes)
}

// Denied implements api.Backend.
func (t *Table) Denied(context.Context) ([]api.Denial, error) {
	var out []api.Denial
	for _, entry := range t.DenyList.All() {
		out = append(out, api.Denial(entry))
	}
	return out, nil
}
