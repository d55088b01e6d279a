package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

// DefaultPaths are where a CRIU is looked for: the one that packaging/criu.sh
// has unpacked, then the distribution's.
var DefaultPaths = []string{"/usr/local/lib/fcnode/criu/criu", "/usr/lib/fcnode/criu/criu", "/usr/local/sbin/criu", "/usr/sbin/criu", "/sbin/criu"}

// Tool is a CRIU program that works on this machine.
type Tool struct {
	Path    string
	Version Version
	Lazy    bool // pages can be restored on demand (userfaultfd)
}

// Version of CRIU.
type Version struct{ Major, Minor, Sublevel int }

func (v Version) String() string {
	if v.Sublevel == 0 {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Sublevel)
}

func (v Version) atLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Find looks for a CRIU that works on the running kernel: the configured one, or
// the first of DefaultPaths and PATH that does. The error is ErrUnavailable and
// says of each program why not.
func Find(ctx context.Context, configured string) (*Tool, error) {
	candidates := []string{configured}
	if configured == "" {
		candidates = DefaultPaths
		if p, err := exec.LookPath("criu"); err == nil {
			candidates = append(candidates, p)
		}
	}
	kernel, err := kernelRelease()
	if err != nil {
		return nil, err
	}
	var why []error
	seen := map[string]bool{}
	for _, path := range candidates {
		if _, err := os.Stat(path); seen[path] || (configured == "" && errors.Is(err, os.ErrNotExist)) {
			continue
		}
		seen[path] = true
		t, err := probe(ctx, path, kernel)
		if err == nil {
			return t, nil
		}
		why = append(why, err)
	}
	if len(why) == 0 {
		return nil, fmt.Errorf("%w: criu is not installed; `make deps`, or packaging/criu.sh, gets the right one", ErrUnavailable)
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(why...))
}

// probe asks a program what it is.
func probe(ctx context.Context, path, kernel string) (*Tool, error) {
	t := &Tool{Path: path}
	s, err := t.Start(SessionOptions{KeepOpen: true})
	if err != nil {
		return nil, err
	}
	defer s.Close() // nothing is under way
	if t.Version, err = s.Version(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := tooOld(t.Version, kernel); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f, err := t.features(ctx); err == nil {
		t.Lazy = f.GetLazyPages()
	}
	return t, nil
}

func (t *Tool) features(ctx context.Context) (*rpc.CriuFeatures, error) {
	s, err := t.Start(SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Close() // as above
	return s.Features(ctx)
}

// tooOld knows what `criu check` does not notice.
func tooOld(v Version, kernel string) error {
	var major, minor int
	if _, err := fmt.Sscanf(kernel, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("understanding the kernel's release %q: %w", kernel, err)
	}
	if (major > 6 || major == 6 && minor >= 16) && !v.atLeast(4, 2) {
		return fmt.Errorf("criu %s cannot dump TCP sockets on Linux %s: 4.2 or newer is needed; packaging/criu.sh gets it", v, kernel)
	}
	// 3.17, of Debian 12, locks the network by a packet filter and cannot be told not to.
	if !v.atLeast(4, 0) {
		return fmt.Errorf("criu %s is too old: 4.0 or newer is needed; packaging/criu.sh gets it", v)
	}
	return nil
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("asking for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// Name of the program, for messages.
func (t *Tool) String() string {
	return strings.TrimSpace(fmt.Sprintf("criu %s (%s)", t.Version, filepath.Clean(t.Path)))
}
