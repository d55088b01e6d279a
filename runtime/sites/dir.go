package sites

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ApplyDir brings the sites of the specs folder into being, and deletes those
// that came from it and are in it no more. A mistake in any file changes
// nothing, nor does a folder in which so much is missing that it may be one that
// is not mounted, unless force says that it is meant: what ran before runs on,
// and the event log says what is wrong.
func (t *Table) ApplyDir(ctx context.Context, force bool) error {
	t.dir.Lock()
	defer t.dir.Unlock()
	err := t.tryDir(ctx, force)
	if err != nil {
		t.host.Log.Error("the specs folder was not applied; the sites stay as they were", "folder", t.host.Cfg.SitesDir, "error", err)
		text := err.Error()
		if wire := (*api.Error)(nil); errors.As(err, &wire) && wire.Hint != "" {
			text += "; " + wire.Hint
		}
		t.host.Tell(event.Event{Kind: event.Invalid, Reason: "specs folder not applied", Text: text})
	}
	return err
}

// Reload implements api.Backend. Who asked may go away: what was begun is done.
func (t *Table) Reload(ctx context.Context, force bool) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(t.host.Ctx, cancel)()
	return t.ApplyDir(ctx, force)
}

func (t *Table) tryDir(ctx context.Context, force bool) error {
	dir := t.host.Cfg.SitesDir
	var sites []spec.Site
	_, err := os.Stat(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	if !missing {
		if err := file.SweepSwaps(dir); err != nil {
			t.host.Log.Warn("what an earlier daemon has left in the specs folder stays there", "error", err)
		}
		if sites, err = spec.ParseDir(dir); err != nil {
			return err
		}
	}
	keep := make(map[string]bool, len(sites))
	for i := range sites {
		keep[sites[i].Name] = true
	}
	gone, had := t.goneFrom(dir, keep)
	if err := t.plausible(dir, missing, gone, had); err != nil && !force {
		return err
	}
	if len(sites) > 0 {
		from := origin{source: dir}
		images, err := t.findImages(ctx, sites, from)
		if err == nil {
			_, err = t.applyWith(ctx, sites, from, images, false) // results are for who asks: they take long for many sites
		}
		if err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range gone {
		if err := t.Delete(ctx, name, false); err != nil {
			errs = append(errs, fmt.Errorf("delete site %s, whose file is gone: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// goneFrom are the sites that came from the folder and are in it no more, of how many.
func (t *Table) goneFrom(dir string, keep map[string]bool) (gone []string, had int) {
	for _, e := range t.All() {
		ours := false
		e.With(func(*life.Live) { ours = e.Source == dir })
		if !ours {
			continue
		}
		had++
		if !keep[e.Name] {
			gone = append(gone, e.Name)
		}
	}
	slices.Sort(gone)
	return gone, had
}

// plausible says why so many sites are not believed to be gone; nil: they are.
func (t *Table) plausible(dir string, missing bool, gone []string, had int) error {
	share := float64(t.host.Cfg.Deletion.Share) / 100
	if len(gone) == 0 || share >= 1 || len(gone) < had && float64(len(gone)) <= share*float64(had) {
		return nil
	}
	what := "has no files any more"
	if missing {
		what = "does not exist, nor do the files"
	}
	names := gone
	if len(names) > 5 {
		names = append(slices.Clone(names[:5]), "…")
	}
	return &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("the folder %s %s of %d of the %d sites that came from it: %s", dir, what, len(gone), had, strings.Join(names, ", ")),
		Hint:    "mount or restore the folder; or, if these sites are to be deleted, fcnode reload --force (deletion.share of the configuration is " + t.host.Cfg.Deletion.Share.String() + ")",
	}
}
