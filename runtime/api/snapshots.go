package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fcnode/fcnode/runtime/spec"
)

// aSnapshot gives the names in a path, which become those of folders.
func aSnapshot(r *http.Request) (site, name, snapshot string, err error) {
	site, name, err = aVolume(r)
	snapshot = r.PathValue("snapshot")
	if err == nil && !spec.IsLabel(snapshot) {
		err = fmt.Errorf("snapshot %q: its name has to be 1 to 63 of a-z, 0-9 and \"-\", and neither begin nor end with \"-\": %w", snapshot, ErrInvalid)
	}
	return site, name, snapshot, err
}

func (s *Server) snapshotVolume(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	opts := SnapshotOptions{BackupOptions: BackupOptions{StillFor: time.Duration(q.int("stillNs", 0))}, Keep: q.int("keep", 0)}
	site, name, snapshot, err := aSnapshot(r)
	if err == nil {
		err = q.done()
	}
	if err == nil && (opts.StillFor < 0 || opts.Keep < 0) {
		err = fmt.Errorf("stillNs=%d, keep=%d: neither is negative: %w", opts.StillFor, opts.Keep, ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return s.backend.SnapshotVolume(r.Context(), site, name, snapshot, opts)
}

func (s *Server) restoreSnapshot(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	force := q.bool("force")
	site, name, snapshot, err := aSnapshot(r)
	if err == nil {
		err = q.done()
	}
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.RestoreSnapshot(r.Context(), site, name, snapshot, force)
}

func (s *Server) removeSnapshot(r *http.Request) (any, error) {
	site, name, snapshot, err := aSnapshot(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.RemoveSnapshot(r.Context(), site, name, snapshot)
}

func snapshotPath(site, name, snapshot string) string {
	return volumePath(site, name) + "/snapshots/" + url.PathEscape(snapshot)
}

// SnapshotVolume keeps a copy of a volume that shares its blocks with it.
func (c *Client) SnapshotVolume(ctx context.Context, site, name, snapshot string, opts SnapshotOptions) (taken TakenSnapshot, err error) {
	q := url.Values{}
	if opts.StillFor > 0 {
		q.Set("stillNs", fmt.Sprint(opts.StillFor.Nanoseconds()))
	}
	if opts.Keep > 0 {
		q.Set("keep", fmt.Sprint(opts.Keep))
	}
	err = c.call(ctx, http.MethodPut, snapshotPath(site, name, snapshot), q, nil, &taken)
	return taken, err
}

// RestoreSnapshot puts a copy of a snapshot in the place of its volume; with force
// the site is parked for it.
func (c *Client) RestoreSnapshot(ctx context.Context, site, name, snapshot string, force bool) error {
	q := url.Values{}
	setBool(q, "force", force)
	return c.call(ctx, http.MethodPost, snapshotPath(site, name, snapshot)+"/restore", q, nil, nil)
}

// RemoveSnapshot removes one.
func (c *Client) RemoveSnapshot(ctx context.Context, site, name, snapshot string) error {
	return c.call(ctx, http.MethodDelete, snapshotPath(site, name, snapshot), nil, nil, nil)
}
