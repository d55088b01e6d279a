package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// seccompFilter is which filter the bundle has.
type seccompFilter string

const (
	sameFilter    seccompFilter = "same"    // that of fcnode's containers: the native architecture only
	defaultFilter seccompFilter = "default" // as container managers give it to runc: three architectures on amd64
)

// runcBench runs the demo site by `runc run`.
type runcBench struct {
	bundle, root string
	n            int
}

// newRunc writes the bundle: what `runc spec` gives, with the program, the
// plain network namespace, fcnode's seccomp filter and no terminal.
func newRunc(s *stage.Stage, from string, p *plain, filter seccompFilter) (*runcBench, error) {
	name := string(filter)
	b := &runcBench{bundle: s.File("bundle-" + name), root: s.File("runc-state-" + name)}
	rootfs := filepath.Join(b.bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(from)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(rootfs, "site"), program, 0o755); err != nil {
		return nil, err
	}
	// runc looks for cgroup v2 at the usual place only; this mount namespace is ours
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err == nil && st.Type != unix.CGROUP2_SUPER_MAGIC {
		if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			return nil, err
		}
	}
	spec := exec.Command("runc", "spec")
	spec.Dir = b.bundle
	if out, err := spec.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec (apt install runc): %w: %s", err, out)
	}
	return b, b.edit(p, filter)
}

func (b *runcBench) edit(p *plain, kind seccompFilter) error {
	path := filepath.Join(b.bundle, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	process := c["process"].(map[string]any)
	process["args"], process["terminal"] = []string{"/site"}, false
	linux := c["linux"].(map[string]any)
	linux["cgroupsPath"] = fmt.Sprintf("/fcnode-bench-runc-%d", os.Getpid())
	for _, ns := range linux["namespaces"].([]any) {
		if n := ns.(map[string]any); n["type"] == "network" {
			n["path"] = p.path()
		}
	}
	filter, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		return err
	}
	if kind == sameFilter {
		filter.Architectures = nil
	}
	linux["seccomp"] = filter
	if raw, err = json.Marshal(c); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// run starts a container and returns when its program says that it listens:
// by its output, so no polling takes CPU time from the start or adds to it.
func (b *runcBench) run(ctx context.Context) (stop func() error, err error) {
	b.n++
	cmd := exec.CommandContext(ctx, "runc", "--root", b.root, "run", "--bundle", b.bundle, b.id())
	var text strings.Builder
	cmd.SysProcAttr = ownSession()
	cmd.Stderr = &text
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	id := b.id()
	stop = func() error {
		err := exec.CommandContext(context.WithoutCancel(ctx), "runc", "--root", b.root, "delete", "--force", id).Run()
		_ = cmd.Wait() // killed
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("runc run: %w", err), stop(), errors.New(text.String()))
	}
	return stop, nil
}

func (b *runcBench) id() string { return fmt.Sprintf("bench-%d", b.n) }

// pid of the program that run has started.
func (b *runcBench) pid(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "runc", "--root", b.root, "state", b.id()).Output()
	if err != nil {
		return 0, fmt.Errorf("runc state: %w", err)
	}
	var state struct{ Pid int }
	err = json.Unmarshal(out, &state)
	return state.Pid, err
}

// once starts the site and asks it, from the moment runc is executed to the
// first byte of the answer.
func (b *runcBench) once(ctx context.Context, c *client) (took time.Duration, err error) {
	begin := time.Now()
	stop, err := b.run(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if _, err := c.visit(netip.AddrPortFrom(netip.MustParseAddr(directAddr), 80)); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}
