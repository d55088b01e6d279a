package sites

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ApplyDir brings the sites of the specs folder into being, and deletes those
// that came from it and are in it no more. A mistake in any file changes
// nothing: what ran before runs on, and the event log says what is wrong.
func (t *Table) ApplyDir(ctx context.Context) {
	if err := t.tryDir(ctx); err != nil {
		t.host.Log.Error("the specs folder was not applied; the sites stay as they were", "folder", t.host.Cfg.SitesDir, "error", err)
		t.host.Tell(event.Event{Kind: event.Invalid, Reason: "specs folder not applied", Text: err.Error()})
	}
}

func (t *Table) tryDir(ctx context.Context) error {
	dir := t.host.Cfg.SitesDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return t.deleteMissing(ctx, nil)
	}
	sites, err := spec.ParseDir(dir)
	if err != nil {
		return err
	}
	if _, err := t.applyFrom(ctx, sites, origin{source: dir}, false); err != nil {
		return err
	}
	keep := make(map[string]bool, len(sites))
	for i := range sites {
		keep[sites[i].Name] = true
	}
	return t.deleteMissing(ctx, keep)
}

func (t *Table) deleteMissing(ctx context.Context, keep map[string]bool) error {
	var errs []error
	for _, e := range t.All() {
		ours := false
		e.With(func(*life.Live) { ours = e.Source == t.host.Cfg.SitesDir })
		if !ours || keep[e.Name] {
			continue
		}
		if err := t.Delete(ctx, e.Name, false); err != nil {
			errs = append(errs, fmt.Errorf("delete site %s, whose file is gone: %w", e.Name, err))
		}
	}
	return errors.Join(errs...)
}
