package api_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/api/apitest"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

// memory is a Backend which keeps sites in memory and executes on the machine itself.
type memory struct {
	apitest.Folder

	mu      sync.Mutex
	sites   map[string]*spec.Site
	running map[string]bool
	events  []event.Event
	news    chan struct{} // closed and replaced with each event
	logs    []api.LogLine
	denials []api.Denial

	// waking, if set, is received from before a wake succeeds; begun tells that the wake waits.
	waking chan error
	begun  chan struct{}
	// streams counts sequences which are being iterated.
	streams int
}

func newMemory() *memory {
	return &memory{
		sites:   map[string]*spec.Site{},
		running: map[string]bool{},
		news:    make(chan struct{}),
		begun:   make(chan struct{}, 1),
	}
}

func (m *memory) emit(e event.Event) {
	e.Seq = uint64(len(m.events) + 1)
	e.Time = time.Unix(1_800_000_000, 0).UTC()
	m.events = append(m.events, e)
	close(m.news)
	m.news = make(chan struct{})
}

func (m *memory) Apply(_ context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var results []api.ApplyResult
	for i := range sites {
		if slices.ContainsFunc(sites[:i], func(s spec.Site) bool { return s.Name == sites[i].Name }) {
			return nil, fmt.Errorf("site %s is given twice: %w", sites[i].Name, api.ErrConflict)
		}
		r := api.ApplyResult{Name: sites[i].Name, Action: api.ActionCreated}
		if old, ok := m.sites[sites[i].Name]; ok {
			r.Action = api.ActionUpdated
			if old.Digest() == sites[i].Digest() {
				r.Action = api.ActionUnchanged
			}
		}
		results = append(results, r)
	}
	if dryRun {
		return results, nil
	}
	for i := range sites {
		m.sites[sites[i].Name] = &sites[i]
		m.emit(event.Event{Site: sites[i].Name, Kind: "applied"})
	}
	return results, nil
}

func (m *memory) Pull(_ context.Context, ref string) iter.Seq2[api.Pull, error] {
	return func(yield func(api.Pull, error) bool) {
		if ref == "" {
			yield(api.Pull{}, fmt.Errorf("which image: %w", api.ErrInvalid))
			return
		}
		if yield(api.Pull{Layers: 1, Of: 2, Bytes: 10, Size: 20}, nil) {
			yield(api.Pull{Image: &api.Image{Digest: "sha256:" + ref, Ports: []string{"80/tcp"}}}, nil)
		}
	}
}

func (m *memory) SpecFile(_ context.Context, name string) (api.SpecFile, error) {
	return api.SpecFile{Path: "/specs/" + name + ".yaml", Text: "name: " + name + "\n", Digest: "sha256:d", Saved: true}, nil
}

func (m *memory) Rollback(_ context.Context, name string, revision uint64, dryRun bool) ([]api.ApplyResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return nil, err
	}
	if revision > 3 {
		return nil, fmt.Errorf("revision %d: %w", revision, api.ErrConflict)
	}
	return []api.ApplyResult{{Name: name, Action: api.ActionUpdated, Notes: []string{fmt.Sprintf("%d %t", revision, dryRun)}}}, nil
}

func (m *memory) WriteSpec(ctx context.Context, name string, file api.SpecFile, dryRun bool) ([]api.ApplyResult, error) {
	all, err := spec.Parse(file.Path, strings.NewReader(file.Text))
	if err != nil {
		return nil, err
	}
	if all[0].Name != name {
		return nil, notFound(name)
	}
	return m.Apply(ctx, all, dryRun)
}

func (m *memory) Reload(_ context.Context, force bool) error {
	if !force {
		return &api.Error{Code: api.CodeConflict, Message: "all are gone", Hint: "say force"}
	}
	return nil
}

func (m *memory) Delete(_ context.Context, name string, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.sites[name]; !ok {
		return notFound(name)
	}
	delete(m.sites, name)
	m.emit(event.Event{Site: name, Kind: "deleted"})
	return nil
}

func notFound(name string) error { return fmt.Errorf("site %q: %w", name, api.ErrNotFound) }

func (m *memory) site(name string) (api.Site, error) {
	s, ok := m.sites[name]
	if !ok {
		return api.Site{}, notFound(name)
	}
	out := api.Site{
		Name:       name,
		ID:         1,
		Addresses:  []netip.Addr{netip.MustParseAddr("10.77.0.12")},
		Ports:      []string{"80/tcp"},
		Tier:       api.TierCold,
		Phase:      api.PhaseParked,
		Replicas:   []api.Replica{},
		SpecDigest: s.Digest(),
	}
	if m.running[name] {
		out.Tier, out.Phase = api.TierRunning, api.PhaseRunning
		out.Replicas = []api.Replica{{ID: name + "-1", Tier: api.TierRunning}}
	}
	return out, nil
}

func (m *memory) List(_ context.Context, opts api.ListOptions) ([]api.Site, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []api.Site
	for name := range m.sites {
		s, err := m.site(name)
		if err != nil {
			return nil, err
		}
		if m.running[name] || !opts.Awake {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b api.Site) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (m *memory) Get(_ context.Context, name string) (api.Site, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.site(name)
	s.Spec = m.sites[name]
	return s, err
}

func (m *memory) Wake(ctx context.Context, name string) (api.Site, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return api.Site{}, err
	}
	if m.waking != nil {
		m.begun <- struct{}{}
		select {
		case err := <-m.waking:
			if err != nil {
				return api.Site{}, err
			}
		case <-ctx.Done():
			m.begun <- struct{}{}
			return api.Site{}, ctx.Err()
		}
	}
	m.running[name] = true
	m.emit(event.Event{Site: name, Kind: "running", Fields: map[string]any{"by": "hand"}})
	return m.site(name)
}

func (m *memory) Park(_ context.Context, name string, force bool) (api.Site, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return api.Site{}, err
	}
	if m.running[name] && !force {
		return api.Site{}, &api.Error{
			Code: api.CodeBusy, Message: "site " + name + " has 3 connections", Hint: "park it with --force",
		}
	}
	delete(m.running, name)
	return m.site(name)
}

func (m *memory) Circulate(_ context.Context, name string, _ bool) (api.Site, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, err := m.site(name); err != nil || m.running[name] {
		return s, err
	}
	return api.Site{}, fmt.Errorf("site %q: %w: nothing of it runs", name, api.ErrUnavailable)
}

func (m *memory) Check(_ context.Context, name string) (api.SiteCheck, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return api.SiteCheck{}, err
	}
	return api.SiteCheck{Site: name, Tiers: []api.TierCheck{{Tier: api.TierCheckpointed, Findings: []api.Finding{{What: "io_uring"}}}}}, nil
}

func (m *memory) Deny(_ context.Context, prefixes []netip.Prefix, lasting time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range prefixes {
		d := api.Denial{Prefix: p, Since: time.Unix(1_800_000_000, 0).UTC()}
		if lasting > 0 {
			d.Until = d.Since.Add(lasting)
		}
		m.denials = append(m.denials, d)
	}
	return nil
}

func (m *memory) LetIn(_ context.Context, prefixes []netip.Prefix) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.denials)
	m.denials = slices.DeleteFunc(m.denials, func(d api.Denial) bool { return slices.Contains(prefixes, d.Prefix) })
	return before - len(m.denials), nil
}

func (m *memory) Denied(context.Context) ([]api.Denial, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.denials), nil
}

func (m *memory) State(_ context.Context, w io.Writer) error {
	_, err := fmt.Fprintln(w, "the state")
	return err
}

func (m *memory) Metrics(_ context.Context, w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := fmt.Fprintf(w, "fcnode_sites %d\n", len(m.sites))
	return err
}

func (m *memory) Why(_ context.Context, name string, n int) (api.Why, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.site(name)
	return api.Why{Site: name, Pauses: n, Callers: []api.WhyCaller{{Client: netip.MustParseAddr("192.0.2.7"), Every: 300e9}}}, err
}

func (m *memory) Arrivals(_ context.Context, w io.Writer, o api.ArrivalsOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(o.Site); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s | %d:%d %v\n", o.Site, o.Since.Unix()/60, o.Until.Unix()/60, o.Numbered)
	return err
}

func (m *memory) Traces(_ context.Context, name string, n int) ([]event.Trace, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return nil, err
	}
	t := event.Trace{
		Site: name, From: api.TierCold, Client: netip.MustParseAddrPort("203.0.113.9:52114"), Result: event.ResultOK,
		Start: time.Unix(1_800_000_000, 0).UTC(), Steps: []event.Step{{Name: event.StepHeld}, {Name: api.StepListening, At: 98_403_000}},
	}
	return slices.Repeat([]event.Trace{t}, min(n, 3)), nil
}

func (m *memory) Info(context.Context) (api.NodeInfo, error) {
	return api.NodeInfo{Version: "1.2.3", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}}, nil
}

func (m *memory) Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		m.open(+1)
		defer m.open(-1)
		for at := int(opts.Since); ; {
			m.mu.Lock()
			batch, news := m.events[at:], m.news
			at = len(m.events)
			m.mu.Unlock()
			for _, e := range batch {
				if (opts.Site == "" || e.Site == opts.Site) && !yield(e, nil) {
					return
				}
			}
			if !opts.Follow {
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Routes yields a route for each site, and with follow one more for each event.
func (m *memory) Routes(ctx context.Context, follow bool) iter.Seq2[api.RouteUpdate, error] {
	return func(yield func(api.RouteUpdate, error) bool) {
		if !yield(api.RouteUpdate{Version: api.RoutesVersion}, nil) {
			return
		}
		sites, err := m.List(ctx, api.ListOptions{})
		if err != nil {
			yield(api.RouteUpdate{}, err)
			return
		}
		for _, s := range sites {
			if !yield(api.RouteUpdate{Route: &api.Route{Site: s.Name, Domains: []string{s.Name + ".example"}}}, nil) {
				return
			}
		}
		if !yield(api.RouteUpdate{Synced: true}, nil) || !follow {
			return
		}
		for e, err := range m.Events(ctx, api.EventOptions{Follow: true}) {
			if !yield(api.RouteUpdate{Gone: e.Site}, err) {
				return
			}
		}
	}
}

func (m *memory) open(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams += n
}

func (m *memory) Logs(ctx context.Context, name string, opts api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		m.open(+1)
		defer m.open(-1)
		m.mu.Lock()
		_, err := m.site(name)
		lines := m.logs
		m.mu.Unlock()
		if err != nil {
			yield(api.LogLine{}, err)
			return
		}
		if opts.Tail >= 0 {
			lines = lines[max(0, len(lines)-opts.Tail):]
		}
		for _, l := range lines {
			if !l.Time.Before(opts.Since) && !yield(l, nil) {
				return
			}
		}
		if opts.Replica == "lost" {
			yield(api.LogLine{}, fmt.Errorf("read the log of %s: %w", name, os.ErrClosed))
			return
		}
		if opts.Follow {
			<-ctx.Done()
		}
	}
}

func (m *memory) Exec(_ context.Context, name string, req api.ExecRequest) (api.Process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.site(name); err != nil {
		return nil, err
	}
	if !m.running[name] {
		return nil, fmt.Errorf("site %s sleeps: %w", name, api.ErrUnavailable)
	}
	return startProcess(req)
}

// process is a child of the test.
type process struct {
	cmd   *exec.Cmd
	files []*os.File
}

func startProcess(req api.ExecRequest) (p *process, err error) {
	p = &process{cmd: exec.Command(req.Args[0], req.Args[1:]...)}
	p.files, err = testutil.StartJoined(p.cmd, req.Rows, req.Cols)
	return p, err
}

func (p *process) PID() int                        { return p.cmd.Process.Pid }
func (p *process) Files() []*os.File               { return p.files }
func (p *process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

func (p *process) Wait(ctx context.Context) (api.ExecResult, error) {
	defer context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })()
	_ = p.cmd.Wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return api.ExecResult{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}, nil
	}
	return api.ExecResult{Code: status.ExitStatus()}, nil
}

// images that the node has.
var images = []api.StoredImage{
	{Image: api.Image{Digest: "sha256:aa"}, Refs: []string{"reg.example/blog:1"}, Sites: []string{"blog"}, Used: true, Layers: 1, Bytes: 4096},
	{Image: api.Image{Digest: "sha256:bb"}, Layers: 1, Bytes: 4096, Own: 4096},
}

func (m *memory) Images(context.Context) ([]api.StoredImage, error) { return slices.Clone(images), nil }

func (m *memory) Image(_ context.Context, digest string) (api.StoredImage, error) {
	for _, i := range images {
		if i.Digest == digest {
			i.LayerList = []api.ImageLayer{{ID: "sha256:cc", Bytes: 4096, Images: 1}}
			return i, nil
		}
	}
	return api.StoredImage{}, fmt.Errorf("image %q: %w", digest, api.ErrNotFound)
}

func (m *memory) RemoveImage(ctx context.Context, digest string) error {
	i, err := m.Image(ctx, digest)
	if err == nil && i.Used {
		err = fmt.Errorf("image %q: %w", digest, api.ErrBusy)
	}
	return err
}

func (m *memory) PruneImages(context.Context) (api.Pruned, error) {
	return api.Pruned{Images: 1, Layers: 2}, nil
}

// volumes that the node keeps.
var volumes = []api.Volume{{Site: "blog", Name: "html", Path: "/v/blog/html/data", Target: "/var/www/html", Used: true}, {Site: "gone", Name: "db"}}

func (m *memory) Volumes(_ context.Context, site string) (out []api.Volume, err error) {
	for _, v := range volumes {
		if site == "" || site == v.Site {
			out = append(out, v)
		}
	}
	return out, nil
}

func (m *memory) Volume(_ context.Context, site, name string) (api.Volume, error) {
	for _, v := range volumes {
		if v.Site == site && v.Name == name {
			v.Bytes, v.Files = 4096, 1
			return v, nil
		}
	}
	return api.Volume{}, fmt.Errorf("volume %s/%s: %w", site, name, api.ErrNotFound)
}

func (m *memory) RemoveVolume(ctx context.Context, site, name string) error {
	v, err := m.Volume(ctx, site, name)
	if err == nil && v.Used {
		err = fmt.Errorf("volume %s/%s: %w", site, name, api.ErrBusy)
	}
	return err
}

func (m *memory) SnapshotVolume(ctx context.Context, site, name, snapshot string, opts api.SnapshotOptions) (api.TakenSnapshot, error) {
	_, err := m.Volume(ctx, site, name)
	return api.TakenSnapshot{VolumeSnapshot: api.VolumeSnapshot{Name: snapshot}, StillNs: opts.StillFor, Files: int64(opts.Keep)}, err
}

func (m *memory) RestoreSnapshot(ctx context.Context, site, name, _ string, force bool) error {
	v, err := m.Volume(ctx, site, name)
	if err == nil && v.Used && !force {
		err = fmt.Errorf("volume %s/%s: %w", site, name, api.ErrBusy)
	}
	return err
}

func (m *memory) RemoveSnapshot(ctx context.Context, site, name, _ string) error {
	_, err := m.Volume(ctx, site, name)
	return err
}
