package sites

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/file"
	"github.com/fcnode/fcnode/runtime/spec"
)

// SpecFiles answers the API about the files that the sites' specs are in.
type SpecFiles struct{ table *Table }

// Files gives those of the node's folder of specs.
func Files(t *Table) SpecFiles { return SpecFiles{t} }

// specText is where the spec of a site stands, or would.
type specText struct {
	path string // of the file; empty: the node has no folder of specs
	src  []byte // nil: there is no such file
	has  bool   // it has a spec of the site
}

// digest tells one text of a file from another; empty: there is no file.
func (s specText) digest() string {
	if s.src == nil {
		return ""
	}
	sum := sha256.Sum256(s.src)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// SpecFile implements api.Backend.
func (f SpecFiles) SpecFile(_ context.Context, name string) (api.SpecFile, error) {
	at, err := f.findSpec(name)
	if err != nil {
		return api.SpecFile{}, err
	}
	out := api.SpecFile{Path: at.path, Text: string(at.src), Digest: at.digest(), Saved: at.has}
	if at.src != nil {
		return out, nil
	}
	kept, err := f.table.host.Store.Get(name)
	if _, unknown := f.table.ByName(name); unknown != nil || err != nil {
		return out, nil //nolint:nilerr // there is no such site yet
	}
	text, err := kept.Spec.Format()
	out.Text = string(text)
	return out, err
}

// findSpec looks for the file of the folder that has a site. Where none has, it is
// the one of the site's name.
func (f SpecFiles) findSpec(name string) (specText, error) {
	dir := f.table.host.Cfg.SitesDir
	if !spec.IsLabel(name) {
		return specText{}, fmt.Errorf("%q is no name of a site (allowed: up to 63 of a-z, 0-9 and \"-\"): %w", name, api.ErrInvalid)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return specText{}, nil
	}
	if err != nil {
		return specText{}, fmt.Errorf("read the folder of the site specs: %w", err)
	}
	own := name + ".yaml"
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == own }) &&
		slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name+".yml" }) {
		own = name + ".yml"
	}
	out := specText{path: filepath.Join(dir, own)}
	if out.src, err = readSpecText(out.path); err != nil {
		return out, err
	}
	if names, _ := spec.Names(out.src); slices.Contains(names, name) {
		out.has = true
		return out, nil
	}
	for _, e := range entries {
		if e.Name() == own || e.IsDir() || !spec.IsFile(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		src, err := readSpecText(path)
		if err != nil || !bytes.Contains(src, []byte(name)) {
			continue // what cannot be read is a reload's to tell
		}
		if names, _ := spec.Names(src); slices.Contains(names, name) {
			return specText{path: path, src: src, has: true}, nil
		}
	}
	if names, err := spec.Names(out.src); err == nil && len(names) > 0 {
		return out, &api.Error{
			Code:    api.CodeConflict,
			Message: fmt.Sprintf("%s is of other sites: %s", out.path, strings.Join(names, ", ")),
			Hint:    "rename it, or write the site into it by hand",
		}
	}
	return out, nil
}

// readSpecText reads a file of specs; nil: there is none.
func readSpecText(path string) ([]byte, error) {
	if err := file.Check(path, spec.MaxFile); err != nil {
		return nil, err
	}
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the site specs: %w", err)
	}
	return src, nil
}

// WriteSpec implements api.Backend. All that can be wrong is found before the file
// is touched; if the node then fails to take the sites over, the file is put back.
// The file comes first: who is killed in between leaves what the next daemon applies.
func (f SpecFiles) WriteSpec(ctx context.Context, name string, w api.SpecFile, dryRun bool) ([]api.ApplyResult, error) {
	return f.write(ctx, name, w, origin{anew: true, asked: true}, dryRun)
}

func (f SpecFiles) write(ctx context.Context, name string, w api.SpecFile, from origin, dryRun bool) ([]api.ApplyResult, error) {
	at, err := f.findSpec(name)
	if err != nil {
		return nil, err
	}
	sites, err := f.writable(at, name, w)
	if err != nil {
		return nil, err
	}
	if at.path == "" {
		results, err := f.table.applyFrom(ctx, sites, from, dryRun)
		return results, placed(err, name, w.Text)
	}
	from.source = f.table.host.Cfg.SitesDir
	images, err := f.table.findImages(ctx, sites, from) // which takes long, so nobody waits for it
	if err != nil {
		return nil, placed(err, at.path, w.Text)
	}
	f.table.dir.Lock()
	defer f.table.dir.Unlock()
	if at, err = f.findSpec(name); err != nil {
		return nil, err
	}
	if sites, err = f.writable(at, name, w); err != nil {
		return nil, err
	}
	changes, err := f.table.applyWith(ctx, sites, from, images, true)
	if err != nil {
		return nil, placed(err, at.path, w.Text)
	}
	if dryRun {
		return f.table.results(changes, true), nil
	}
	return f.writeAndApply(context.WithoutCancel(ctx), at, sites, from, images, w.Text)
}

// writable says which sites of a new text are to be applied: the one that it is
// about, and others that are not what they were.
func (f SpecFiles) writable(at specText, name string, w api.SpecFile) ([]spec.Site, error) {
	if w.Digest != at.digest() {
		return nil, &api.Error{
			Code: api.CodeConflict, Message: fmt.Sprintf("%s has changed meanwhile", cmp.Or(at.path, "the folder of specs")), Hint: "look at it, and try again",
		}
	}
	sites, err := spec.Parse(cmp.Or(at.path, name), strings.NewReader(w.Text))
	if err != nil {
		return nil, err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(sites, func(s spec.Site) bool { return s.Name == name })
	}
	if !has(name) || at.path == "" && len(sites) > 1 {
		return nil, fmt.Errorf("the text is to describe site %s: %w", name, api.ErrInvalid)
	}
	old, _ := spec.Names(at.src)
	for _, was := range old {
		if !has(was) {
			return nil, &api.Error{
				Code: api.CodeConflict, Message: fmt.Sprintf("the new text of %s does not describe site %s any more", at.path, was),
				Hint: fmt.Sprintf("a site is not renamed or deleted so: take it out of the file by hand, and fcnode delete %s", was),
			}
		}
	}
	if err := f.elsewhere(at, sites, old); err != nil {
		return nil, err
	}
	before, _ := spec.Parse(at.path, bytes.NewReader(at.src)) // none where something is wrong
	return slices.DeleteFunc(sites, func(s spec.Site) bool {
		return s.Name != name && slices.ContainsFunc(before, func(b spec.Site) bool { return b.Name == s.Name && b.Digest() == s.Digest() })
	}), nil
}

// elsewhere refuses sites that come into a file and are in another one.
func (f SpecFiles) elsewhere(at specText, sites []spec.Site, old []string) error {
	for i := range sites {
		name := sites[i].Name
		if at.path == "" || slices.Contains(old, name) {
			continue
		}
		other, err := f.findSpec(name)
		if err != nil {
			return err
		}
		if other.has {
			return fmt.Errorf("site %s is in %s already: %w", name, other.path, api.ErrConflict)
		}
	}
	return nil
}

func (f SpecFiles) writeAndApply(ctx context.Context, at specText, sites []spec.Site, from origin, images map[string]found, text string) ([]api.ApplyResult, error) {
	swap, err := file.Put(at.path, []byte(text), modeLike(f.table.host.Cfg.SitesDir))
	if err != nil {
		return nil, err
	}
	changes, err := f.table.applyWith(ctx, sites, from, images, false)
	if changes == nil && err != nil {
		return nil, errors.Join(placed(err, at.path, text), swap.Undo())
	}
	if kept := swap.Keep(); kept != nil {
		f.table.host.Log.Warn("a file that was replaced stays beside the new one", "error", kept)
	}
	return f.table.results(changes, false), err
}

// modeLike is the mode for a new file of specs: what all files of the folder let
// others do, or nothing.
func modeLike(dir string) fs.FileMode {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0o600
	}
	mode := fs.FileMode(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !spec.IsFile(e.Name()) {
			continue
		}
		if mode == 0 {
			mode = 0o666
		}
		mode &= info.Mode().Perm()
	}
	return mode | 0o600
}

// placed gives the details of an error the lines of the new text, instead of those
// of the file that the text has not replaced.
func placed(err error, path, text string) error {
	var wrong *api.Error
	if !errors.As(err, &wrong) {
		return err
	}
	for i := range wrong.Details {
		d := &wrong.Details[i]
		if d.Site == "" || d.Field == "" {
			continue
		}
		d.File = ""
		if d.Line, d.Column = spec.LocateIn([]byte(text), d.Site, d.Field); d.Line > 0 {
			d.File = path
		}
	}
	return err
}
