package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// defaultTraces is how many traces a client gets that did not say.
const defaultTraces = 1

// Bodies and answers of the calls. Lists are wrapped, so that they can grow fields.
type (
	applyBody struct {
		Sites []spec.Site `json:"sites"`
	}
	// applyRequest is applyBody as the server reads it: each site is decoded by
	// package spec, which knows the defaults.
	applyRequest struct {
		Sites []json.RawMessage `json:"sites"`
	}
	applyAnswer struct {
		DryRun  bool          `json:"dryRun"`
		Results []ApplyResult `json:"results"`
	}
	listAnswer struct {
		Sites []Site `json:"sites"`
	}
	tracesAnswer struct {
		Traces []event.Trace `json:"traces"`
	}
)

func (s *Server) info(r *http.Request) (any, error) {
	return s.backend.Info(r.Context())
}

func (s *Server) list(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	opts := ListOptions{Awake: q.bool("awake")}
	if err := q.done(); err != nil {
		return nil, err
	}
	sites, err := s.backend.List(r.Context(), opts)
	if err != nil {
		return nil, err
	}
	for i := range sites {
		sites[i].noNils()
	}
	return listAnswer{Sites: noNil(sites)}, nil
}

func (s *Server) get(r *http.Request) (any, error) {
	site, err := s.backend.Get(r.Context(), r.PathValue("site"))
	if site.Spec != nil && s.access.role(peerOf(r.Context())) < RoleAdmin {
		site.Spec = withoutEnv(site.Spec)
		site.Versions = slices.Clone(site.Versions)
		for i := range site.Versions {
			site.Versions[i].Spec = withoutEnv(site.Versions[i].Spec)
		}
	}
	return siteAnswer(site, err)
}

// hidden is shown in the place of what only admins see.
const hidden = "(hidden)"

// withoutEnv hides the values of a spec's environment, which are passwords often enough.
func withoutEnv(s *spec.Site) *spec.Site {
	out := *s
	out.Env = maps.Clone(s.Env)
	for name := range out.Env {
		out.Env[name] = hidden
	}
	return &out
}

func (s *Server) apply(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	dryRun := q.bool("dryRun")
	if err := q.done(); err != nil {
		return nil, err
	}
	var body applyRequest
	if err := readBody(r, maxBody, &body); err != nil {
		return nil, err
	}
	if len(body.Sites) == 0 {
		return nil, fmt.Errorf("apply: no sites in the request: %w", ErrInvalid)
	}
	sites, err := decodeSites(body.Sites)
	if err != nil {
		return nil, err
	}
	results, err := s.backend.Apply(r.Context(), sites, dryRun)
	if err != nil {
		return nil, err
	}
	return applyAnswer{DryRun: dryRun, Results: noNil(results)}, nil
}

func (s *Server) specFile(r *http.Request) (any, error) {
	return s.backend.SpecFile(r.Context(), r.PathValue("site"))
}

func (s *Server) writeSpec(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	dryRun := q.bool("dryRun")
	if err := q.done(); err != nil {
		return nil, err
	}
	var file SpecFile
	if err := readBody(r, maxBody, &file); err != nil {
		return nil, err
	}
	results, err := s.backend.WriteSpec(r.Context(), r.PathValue("site"), file, dryRun)
	if err != nil {
		return nil, err
	}
	return applyAnswer{DryRun: dryRun, Results: noNil(results)}, nil
}

func (s *Server) rollback(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	revision, dryRun := q.uint64("revision"), q.bool("dryRun")
	if err := q.done(); err != nil {
		return nil, err
	}
	results, err := s.backend.Rollback(r.Context(), r.PathValue("site"), revision, dryRun)
	if err != nil {
		return nil, err
	}
	return applyAnswer{DryRun: dryRun, Results: noNil(results)}, nil
}

func (s *Server) reload(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	force := q.bool("force")
	if err := q.done(); err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.Reload(r.Context(), force)
}

func (s *Server) delete(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	purge := q.bool("purge")
	if err := q.done(); err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.Delete(r.Context(), r.PathValue("site"), purge)
}

type imagesAnswer struct {
	Images []StoredImage `json:"images"`
}

func (s *Server) images(r *http.Request) (any, error) {
	images, err := s.backend.Images(r.Context())
	for i := range images {
		images[i].noNils()
	}
	return imagesAnswer{Images: noNil(images)}, err
}

// noNils makes the lists which an image always has.
func (i *StoredImage) noNils() { i.Refs, i.Sites = noNil(i.Refs), noNil(i.Sites) }

func (s *Server) image(r *http.Request) (any, error) {
	image, err := s.backend.Image(r.Context(), r.PathValue("digest"))
	image.noNils()
	return image, err
}

func (s *Server) removeImage(r *http.Request) (any, error) {
	return struct{}{}, s.backend.RemoveImage(r.Context(), r.PathValue("digest"))
}

func (s *Server) pruneImages(r *http.Request) (any, error) {
	return s.backend.PruneImages(r.Context())
}

type volumesAnswer struct {
	Volumes []Volume `json:"volumes"`
}

func (s *Server) volumes(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	site := q.string("site")
	if err := q.done(); err != nil {
		return nil, err
	}
	if site != "" && !spec.IsLabel(site) {
		return nil, fmt.Errorf("site %q: %w", site, ErrNotFound)
	}
	volumes, err := s.backend.Volumes(r.Context(), site)
	return volumesAnswer{Volumes: noNil(volumes)}, err
}

// aVolume gives the names in a path, which become those of folders.
func aVolume(r *http.Request) (site, name string, err error) {
	site, name = r.PathValue("site"), r.PathValue("volume")
	if !spec.IsLabel(site) || !spec.IsLabel(name) {
		err = fmt.Errorf("volume %q of site %q: %w", name, site, ErrNotFound)
	}
	return site, name, err
}

func (s *Server) volume(r *http.Request) (any, error) {
	site, name, err := aVolume(r)
	if err != nil {
		return nil, err
	}
	return s.backend.Volume(r.Context(), site, name)
}

func (s *Server) removeVolume(r *http.Request) (any, error) {
	site, name, err := aVolume(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.RemoveVolume(r.Context(), site, name)
}

func (s *Server) wake(r *http.Request) (any, error) {
	return siteAnswer(s.backend.Wake(r.Context(), r.PathValue("site")))
}

func (s *Server) park(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	force := q.bool("force")
	if err := q.done(); err != nil {
		return nil, err
	}
	return siteAnswer(s.backend.Park(r.Context(), r.PathValue("site"), force))
}

func (s *Server) circulate(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	newImage := q.bool("newImage")
	if err := q.done(); err != nil {
		return nil, err
	}
	return siteAnswer(s.backend.Circulate(r.Context(), r.PathValue("site"), newImage))
}

func (s *Server) traces(r *http.Request) (any, error) {
	q := query{values: r.URL.Query()}
	n := q.int("n", defaultTraces)
	if err := q.done(); err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, fmt.Errorf("n=%d: at least one trace: %w", n, ErrInvalid)
	}
	traces, err := s.backend.Traces(r.Context(), r.PathValue("site"), n)
	if err != nil {
		return nil, err
	}
	return tracesAnswer{Traces: noNil(traces)}, nil
}

func siteAnswer(site Site, err error) (any, error) {
	site.noNils()
	return site, err
}

// noNils makes the lists which a site always has.
func (s *Site) noNils() {
	s.Addresses, s.Ports, s.Replicas = noNil(s.Addresses), noNil(s.Ports), noNil(s.Replicas)
}

// noNil makes an empty list [] instead of null.
func noNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// query reads parameters and refuses those that it was not asked for: a misspelt
// ?folow=true is an error, not a silence.
type query struct {
	values url.Values
	seen   []string
	err    error
}

func (q *query) string(name string) string {
	q.seen = append(q.seen, name)
	return q.values.Get(name)
}

func (q *query) bool(name string) bool {
	return parseParam(q, name, false, "true or false", strconv.ParseBool)
}

func (q *query) int(name string, otherwise int) int {
	return parseParam(q, name, otherwise, "a number", strconv.Atoi)
}

func (q *query) uint64(name string) uint64 {
	return parseParam(q, name, 0, "a number", func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
}

func (q *query) time(name string) time.Time {
	return parseParam(q, name, time.Time{}, "a time like 2026-11-22T10:31:07Z",
		func(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) })
}

func parseParam[T any](q *query, name string, otherwise T, want string, parse func(string) (T, error)) T {
	text := q.string(name)
	if text == "" {
		return otherwise
	}
	v, err := parse(text)
	if err != nil && q.err == nil {
		q.err = fmt.Errorf("parameter %s=%q: want %s: %w", name, text, want, ErrInvalid)
	}
	return v
}

// done returns the first error.
func (q *query) done() error {
	if q.err != nil {
		return q.err
	}
	for _, name := range q.seen {
		q.values.Del(name)
	}
	for name := range q.values {
		return fmt.Errorf("unknown parameter %s (allowed: %v): %w", name, q.seen, ErrInvalid)
	}
	return nil
}
