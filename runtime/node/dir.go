package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// applyDir brings the sites of the specs folder into being, and deletes those
// that came from it and are in it no more. A mistake in any file changes
// nothing: what ran before runs on, and the journal says what is wrong.
func (n *Node) applyDir(ctx context.Context) {
	if err := n.tryDir(ctx); err != nil {
		n.log.Error("the specs folder was not applied; the sites stay as they were", "folder", n.cfg.SitesDir, "error", err)
		n.tell(event.Event{Kind: event.Invalid, Reason: "specs folder not applied", Text: err.Error()})
	}
}

func (n *Node) tryDir(ctx context.Context) error {
	dir := n.cfg.SitesDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return n.deleteMissing(ctx, nil)
	}
	sites, err := spec.ParseDir(dir)
	if err != nil {
		return err
	}
	if _, err := n.applyFrom(ctx, sites, dir, false); err != nil {
		return err
	}
	keep := make(map[string]bool, len(sites))
	for i := range sites {
		keep[sites[i].Name] = true
	}
	return n.deleteMissing(ctx, keep)
}

func (n *Node) deleteMissing(ctx context.Context, keep map[string]bool) error {
	var errs []error
	for _, e := range n.all() {
		e.mu.Lock()
		ours := e.source == n.cfg.SitesDir
		e.mu.Unlock()
		if !ours || keep[e.name] {
			continue
		}
		if err := n.Delete(ctx, e.name); err != nil {
			errs = append(errs, fmt.Errorf("delete site %s, whose file is gone: %w", e.name, err))
		}
	}
	return errors.Join(errs...)
}
