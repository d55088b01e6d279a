package sites

import (
	"context"
	"fmt"
	"slices"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/store"
)

// Rollback implements api.Backend. The file of a site says what it said then, as
// far as the spec goes; its comments stay.
func (f SpecFiles) Rollback(ctx context.Context, name string, revision uint64, dryRun bool) ([]api.ApplyResult, error) {
	if _, err := f.table.ByName(name); err != nil {
		return nil, err
	}
	v, err := f.version(name, revision)
	if err != nil {
		return nil, err
	}
	from := origin{anew: true, asked: true, images: map[string]string{name: v.Image}}
	at, err := f.findSpec(name)
	if err != nil {
		return nil, err
	}
	if !at.has { // the API's
		return f.table.applyFrom(ctx, []spec.Site{v.Spec}, from, dryRun)
	}
	text, err := spec.Rewrite(at.path, at.src, &v.Spec)
	if err != nil {
		return nil, err
	}
	return f.write(ctx, name, api.SpecFile{Text: string(text), Digest: at.digest()}, from, dryRun)
}

func (f SpecFiles) version(name string, revision uint64) (store.Version, error) {
	all, err := f.table.host.Store.Versions(name)
	if err != nil {
		return store.Version{}, err
	}
	i := 0
	if revision > 0 {
		i = slices.IndexFunc(all, func(v store.Version) bool { return v.Revision == revision })
	}
	switch {
	case len(all) == 0:
		return store.Version{}, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("site %q has no earlier version: it was not changed since it was created", name)}
	case i < 0:
		return store.Version{}, &api.Error{
			Code: api.CodeConflict, Message: fmt.Sprintf("revision %d of site %q is not kept", revision, name),
			Hint: fmt.Sprintf("fcnode get %s shows the revisions before it, of which the last %d are kept", name, store.KeptVersions),
		}
	}
	return all[i], nil
}
