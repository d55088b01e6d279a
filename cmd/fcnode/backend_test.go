package main

import (
	"context"
	"errors"
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

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/api/apitest"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/tests/testutil"
)

// noon is the time of all tests.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// recorded is a Backend which answers what it was given and remembers what it was asked.
type recorded struct {
	apitest.Folder

	sites    []api.Site
	arrivals string
	why      api.Why
	traces   []api.Trace
	events   []api.Event
	routes   []api.RouteUpdate
	volumes  []api.Volume
	images   []api.StoredImage
	logs     []api.LogLine
	info     api.NodeInfo

	later []api.Event // that come to those who follow
	fresh []api.Site  // what there is once they have come

	applied []spec.Site
	calls   []string
	logOpts api.LogOptions
	evOpts  api.EventOptions

	mu   sync.Mutex // files over a socket are no synchronisation for the race detector
	exec api.ExecRequest

	breaks bool // execs end with an error

	file  api.SpecFile // of every site
	pulls []api.Pull
	wrote api.SpecFile
}

func (b *recorded) Pull(ctx context.Context, ref string) iter.Seq2[api.Pull, error] {
	b.calls = append(b.calls, "pull "+ref)
	if strings.HasSuffix(ref, ":none") {
		return func(yield func(api.Pull, error) bool) {
			yield(api.Pull{}, &api.Error{Code: api.CodeInvalid, Message: "image \"" + ref + "\": image not found"})
		}
	}
	return yieldAll(ctx, b.pulls, false)
}

func (b *recorded) SpecFile(context.Context, string) (api.SpecFile, error) { return b.file, nil }

func (b *recorded) Rollback(_ context.Context, name string, revision uint64, dryRun bool) ([]api.ApplyResult, error) {
	_, err := b.call(name, fmt.Sprintf("rollback to %d, dry run: %t", revision, dryRun))
	return []api.ApplyResult{{Name: name, Action: api.ActionUpdated}}, err
}

func (b *recorded) WriteSpec(ctx context.Context, name string, w api.SpecFile, dryRun bool) ([]api.ApplyResult, error) {
	b.wrote = w
	all, err := spec.Parse(w.Path, strings.NewReader(w.Text))
	if err != nil {
		return nil, err
	}
	b.calls = append(b.calls, "write "+name)
	results, err := b.Apply(ctx, all, dryRun)
	if err == nil && b.file.Saved {
		results[0].Action = api.ActionUpdated
	}
	return results, err
}

func (b *recorded) site(name string) (api.Site, error) {
	for i := range b.sites {
		if b.sites[i].Name == name {
			return b.sites[i], nil
		}
	}
	return api.Site{}, fmt.Errorf("site %q: %w", name, api.ErrNotFound)
}

func (b *recorded) Apply(_ context.Context, sites []spec.Site, dryRun bool) ([]api.ApplyResult, error) {
	if dryRun {
		b.calls = append(b.calls, "dry run")
	}
	b.applied = sites
	var results []api.ApplyResult
	for i := range sites {
		if sites[i].Name == "taken" {
			return nil, &api.Error{
				Code: api.CodeConflict, Message: "nothing was applied", Hint: "choose another address",
				Details: []api.Detail{{Site: "taken", Field: "addresses[0]", Message: "10.77.0.12 is blog's"}},
			}
		}
		r := api.ApplyResult{Name: sites[i].Name, Action: api.ActionCreated, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.12")}}
		if sites[i].Scale.Spare.Tier == spec.TierPrepared {
			r.Warnings = []string{"scale.spare: none here"}
		}
		results = append(results, r)
	}
	return results, nil
}

func (b *recorded) call(name, what string) (api.Site, error) {
	s, err := b.site(name)
	if err == nil {
		b.calls = append(b.calls, what+" "+name)
	}
	return s, err
}

func (b *recorded) Reload(_ context.Context, force bool) error {
	b.calls = append(b.calls, fmt.Sprintf("reload force=%t", force))
	return nil
}

func (b *recorded) Delete(_ context.Context, name string, purge bool) error {
	what := "delete"
	if purge {
		what = "purge"
	}
	_, err := b.call(name, what)
	return err
}

func (b *recorded) Images(context.Context) ([]api.StoredImage, error) { return b.images, nil }

func (b *recorded) Image(_ context.Context, digest string) (api.StoredImage, error) {
	for _, m := range b.images {
		if m.Digest == digest {
			m.Run = &api.ImageRun{Entrypoint: []string{"/start"}, Command: []string{"-c", "a b"}, Env: []string{"A=b"}, User: "www"}
			m.LayerList = []api.ImageLayer{{ID: "sha256:" + strings.Repeat("c", 64), Bytes: 1 << 20, Images: 2}}
			return m, nil
		}
	}
	return api.StoredImage{}, fmt.Errorf("image %q: %w", digest, api.ErrNotFound)
}

func (b *recorded) RemoveImage(_ context.Context, digest string) error {
	b.calls = append(b.calls, "remove "+digest)
	return nil
}

func (b *recorded) PruneImages(context.Context) (api.Pruned, error) {
	return api.Pruned{Images: 2, Layers: 1}, nil
}

func (b *recorded) Volumes(_ context.Context, site string) (out []api.Volume, err error) {
	for _, v := range b.volumes {
		if site == "" || site == v.Site {
			out = append(out, v)
		}
	}
	return out, nil
}

func (b *recorded) Volume(_ context.Context, site, name string) (api.Volume, error) {
	for _, v := range b.volumes {
		if v.Site == site && v.Name == name {
			v.Bytes, v.Files = 3<<20, 42
			return v, nil
		}
	}
	return api.Volume{}, fmt.Errorf("volume %q of site %q: %w", name, site, api.ErrNotFound)
}

func (b *recorded) RemoveVolume(ctx context.Context, site, name string) error {
	_, err := b.Volume(ctx, site, name)
	if err == nil {
		b.calls = append(b.calls, "remove "+site+"/"+name)
	}
	return err
}

func (b *recorded) SnapshotVolume(_ context.Context, site, name, snapshot string, opts api.SnapshotOptions) (api.TakenSnapshot, error) {
	b.calls = append(b.calls, fmt.Sprintf("snapshot %s/%s@%s within %s, keep %d", site, name, snapshot, opts.StillFor, opts.Keep))
	return api.TakenSnapshot{VolumeSnapshot: api.VolumeSnapshot{Name: snapshot, Made: noon}, StillNs: 1234567890, Files: 42, Left: 1, Removed: []string{"old"}}, nil
}

func (b *recorded) RestoreSnapshot(_ context.Context, site, name, snapshot string, force bool) error {
	b.calls = append(b.calls, fmt.Sprintf("restore %s/%s@%s, force %t", site, name, snapshot, force))
	return nil
}

func (b *recorded) RemoveSnapshot(_ context.Context, site, name, snapshot string) error {
	b.calls = append(b.calls, "remove "+site+"/"+name+"@"+snapshot)
	return nil
}

func (b *recorded) List(_ context.Context, opts api.ListOptions) ([]api.Site, error) {
	return slices.DeleteFunc(slices.Clone(b.sites), func(s api.Site) bool { return opts.Awake && len(s.Replicas) == 0 }), nil
}

func (b *recorded) Circulate(_ context.Context, name string, newImage bool) (api.Site, error) {
	if newImage {
		return b.call(name, "circulate with a new image")
	}
	return b.call(name, "circulate")
}

func (b *recorded) Check(_ context.Context, name string) (api.SiteCheck, error) {
	s, err := b.call(name, "check")
	if err != nil {
		return api.SiteCheck{}, err
	}
	out := api.SiteCheck{Site: name, Tiers: []api.TierCheck{
		{Tier: api.TierFrozen, Usable: true},
		{Tier: api.TierReclaimed, Findings: []api.Finding{{What: "this machine has no memory controller of cgroup v2"}}},
	}}
	if len(s.Replicas) > 0 {
		out.Replica = s.Replicas[0].ID
		out.Tiers = append(out.Tiers, api.TierCheck{Tier: api.TierCheckpointed, Asked: true, Findings: []api.Finding{
			{Process: "node (17)", What: "it uses io_uring", Remedy: "UV_USE_IO_URING=0"}, {Process: "node (18)", What: "it listens by MPTCP"},
		}})
	}
	return out, nil
}

func (b *recorded) Deny(_ context.Context, prefixes []netip.Prefix, lasting time.Duration) error {
	b.calls = append(b.calls, fmt.Sprintf("deny %v for %v", prefixes, lasting))
	return nil
}

func (b *recorded) LetIn(_ context.Context, prefixes []netip.Prefix) (int, error) {
	b.calls = append(b.calls, fmt.Sprintf("let in %v", prefixes))
	return 1, nil
}

func (b *recorded) Denied(context.Context) ([]api.Denial, error) {
	return []api.Denial{
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Since: noon.Add(-time.Hour), Until: noon.Add(90 * time.Minute)},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), Since: noon.Add(-time.Minute)},
	}, nil
}

func (b *recorded) State(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "the state\n")
	return err
}

func (b *recorded) Metrics(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "fcnode_sites 4\n")
	return err
}

func (b *recorded) Why(_ context.Context, name string, n int) (api.Why, error) {
	if _, err := b.site(name); err != nil {
		return api.Why{}, err
	}
	why := b.why
	why.Decisions = why.Decisions[:min(n, len(why.Decisions))]
	return why, nil
}

func (b *recorded) Arrivals(_ context.Context, w io.Writer, o api.ArrivalsOptions) error {
	b.calls = append(b.calls, fmt.Sprintf("arrivals %q since %v numbered %v", o.Site, o.Since, o.Numbered))
	if o.Site != "" {
		if _, err := b.site(o.Site); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.arrivals)
	return err
}

func (b *recorded) Get(_ context.Context, name string) (api.Site, error) { return b.call(name, "get") }
func (b *recorded) Wake(_ context.Context, name string) (api.Site, error) {
	return b.call(name, "wake")
}
func (b *recorded) Info(context.Context) (api.NodeInfo, error) { return b.info, nil }

func (b *recorded) Park(_ context.Context, name string, force bool) (api.Site, error) {
	s, err := b.call(name, fmt.Sprintf("park force=%v", force))
	if err == nil && s.Conns.Now > 0 && !force {
		return s, &api.Error{Code: api.CodeBusy, Message: name + " has connections", Hint: "--force breaks them"}
	}
	return s, err
}

func (b *recorded) Traces(_ context.Context, name string, n int) ([]api.Trace, error) {
	if _, err := b.site(name); err != nil {
		return nil, err
	}
	return b.traces[:min(n, len(b.traces))], nil
}

func (b *recorded) Events(ctx context.Context, opts api.EventOptions) iter.Seq2[api.Event, error] {
	b.evOpts = opts
	if !opts.Follow || b.later == nil {
		return yieldAll(ctx, b.events, opts.Follow)
	}
	if b.fresh != nil {
		b.sites = b.fresh
	}
	return yieldAll(ctx, b.later, true)
}

func (b *recorded) Routes(ctx context.Context, follow bool) iter.Seq2[api.RouteUpdate, error] {
	return yieldAll(ctx, b.routes, follow)
}

func (b *recorded) Logs(ctx context.Context, name string, opts api.LogOptions) iter.Seq2[api.LogLine, error] {
	b.logOpts = opts
	if _, err := b.site(name); err != nil {
		return func(yield func(api.LogLine, error) bool) { yield(api.LogLine{}, err) }
	}
	return yieldAll(ctx, b.logs, opts.Follow)
}

func yieldAll[T any](ctx context.Context, all []T, follow bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
		if follow {
			<-ctx.Done()
		}
	}
}

func (b *recorded) Exec(_ context.Context, name string, req api.ExecRequest) (api.Process, error) {
	if _, err := b.site(name); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.exec = req
	b.mu.Unlock()
	p := &process{cmd: exec.Command(req.Args[0], req.Args[1:]...), breaks: b.breaks}
	var err error
	p.files, err = testutil.StartJoined(p.cmd, req.Rows, req.Cols)
	return p, err
}

// process is a child of the test.
type process struct {
	cmd   *exec.Cmd
	files []*os.File

	breaks bool
}

func (p *process) PID() int                        { return p.cmd.Process.Pid }
func (p *process) Files() []*os.File               { return p.files }
func (p *process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

func (p *process) Wait(ctx context.Context) (api.ExecResult, error) {
	defer context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })()
	_ = p.cmd.Wait()
	if p.breaks {
		return api.ExecResult{}, errors.New("broken off")
	}
	return api.ExecResult{Code: p.cmd.ProcessState.ExitCode()}, nil
}
