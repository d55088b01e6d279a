package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/probe"
	"github.com/fcnode/fcnode/runtime/spec"
)

// inside is a replica as probes see it.
type inside struct {
	Namespace

	h *Host
	r *Replica
	s *spec.Site
}

// ask makes one try of a probe.
func (st *Site) ask(ctx context.Context, p spec.Probe, r *Replica, s *spec.Site) error {
	host := "localhost"
	if len(s.Domains) > 0 {
		host = s.Domains[0]
	}
	return probe.Ask(ctx, p, probe.Target{
		Replica: inside{r.ns, st.Host, r, s}, Addrs: st.Addrs(), Host: host, Port: s.ProbePort(p),
	})
}

// Root implements probe.Replica.
func (i inside) Root() (fd int, err error) {
	path := "/proc/" + strconv.Itoa(i.r.Ctr.Pid()) + "/root"
	fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if _, ended := i.r.Ctr.Exit(); ended { // and its number may be another's by now
		return -1, errors.Join(container.ErrNotRunning, unix.Close(fd))
	}
	return fd, nil
}

// Run implements probe.Replica.
func (i inside) Run(ctx context.Context, args []string) error {
	with, err := i.h.ExecSpec(ctx, i.r, i.s)
	if err != nil {
		return err
	}
	with.Args = args
	p, err := i.r.Ctr.Exec(ctx, with)
	if err != nil {
		return err
	}
	said := hear(p.Files())
	code, err := p.Wait(ctx)
	err = errors.Join(err, p.Close())
	switch {
	case err != nil:
		return err
	case code != 0:
		return fmt.Errorf("exit code %d%s", code, said())
	}
	return nil
}

// ExecSpec is what a command in a replica is run with where nobody says otherwise.
func (h *Host) ExecSpec(ctx context.Context, r *Replica, s *spec.Site) (out container.ExecSpec, err error) {
	img, err := h.Images.Get(r.Image)
	if err != nil { // a folder
		if img, err = h.Images.Resolve(ctx, s.Image); err != nil {
			return out, fmt.Errorf("the image of site %s: %w", s.Name, err)
		}
	}
	return container.ExecSpec{
		Env: Environment(img.Config.Env, s), SecretEnv: secretVariables(h.Cfg.SecretRoots, s), Cwd: FirstOf(s.Workdir, img.Config.WorkingDir, "/"),
		User: FirstOf(string(s.User), img.Config.User),
	}, nil
}

// maxSaid is how much of a command's output is kept for people, in bytes.
const maxSaid = 256

// hear takes all that a command writes, so that it need not wait, and tells the
// beginning of it. It closes the files.
func hear(files []*os.File) (said func() string) {
	var mu sync.Mutex
	var kept strings.Builder
	for i, f := range files {
		if i == 0 { // its input
			_ = f.Close()
			continue
		}
		go func() {
			defer f.Close()
			buf := make([]byte, maxSaid)
			for {
				n, err := f.Read(buf)
				mu.Lock()
				kept.Write(buf[:min(n, maxSaid-kept.Len())])
				mu.Unlock()
				if err != nil {
					return // io.EOF, mostly
				}
			}
		}()
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if line := strings.TrimSpace(kept.String()); line != "" {
			return fmt.Sprintf(": %q", line)
		}
		return ""
	}
}
