package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
)

// Restore makes a container from the checkpoint at dir. It returns when its
// processes run again, its sockets listening. What the Spec says of files, network
// namespace, volumes, limits and logs is in force; what is inside of the processes
// (arguments, environment, user) is as it was.
//
// The checkpoint is gone from dir before anything of it can run, so that it is
// never used twice, unless it is clonable. Memory is compared with its checksums while CRIU copies it, and
// nothing runs before that is over. Errors: criu.ErrUnavailable, criu.ErrUnusable and
// criu.ErrRestore, besides those of Start; after any of them nothing of the container
// and, unless it is clonable and the fault another's, of the checkpoint is left.
func (m *Manager) Restore(ctx context.Context, spec Spec, dir string) (*Container, Timing, error) {
	timing := Timing{Started: wire.Now()}
	if err := spec.validate(); err != nil {
		return nil, timing, err
	}
	spec, err := m.withInit(spec)
	if err != nil {
		return nil, timing, err
	}
	if !m.reserve(spec.ID) {
		return nil, timing, fmt.Errorf("restoring container %s: %w", spec.name(), ErrExists)
	}
	c, err := m.restore(ctx, spec, dir, &timing)
	if err != nil {
		err = fmt.Errorf("restoring container %s: %w", spec.name(), errors.Join(err, m.undo(spec)))
	}
	m.release(spec.ID, c)
	return c, timing, err
}

func (m *Manager) restore(ctx context.Context, spec Spec, dir string, timing *Timing) (*Container, error) {
	tool, err := m.CRIU(ctx)
	if err != nil {
		return nil, err
	}
	req, err := m.takeCheckpoint(tool, spec, dir)
	if err != nil {
		return nil, err
	}
	timing.add("taken", wire.Now())
	c, err := m.restoreInto(ctx, tool, spec, req, timing)
	_ = req.held.Close() // a folder; the monitor holds it by now, if there is one
	switch {
	case err == nil:
	case req.Spent != "":
		err = errors.Join(err, criu.Discard(req.Spent))
	case errors.Is(err, criu.ErrUnusable), errors.Is(err, criu.ErrRestore): // as it would with the next replica
		err = errors.Join(err, criu.Remove(dir))
	}
	return c, err
}

// takeCheckpoint holds and, but for its memory, verifies a checkpoint, takes it out of reach of any other
// restore, and puts its writable layer in its place. One that cannot be used is removed.
func (m *Manager) takeCheckpoint(tool *criu.Tool, spec Spec, dir string) (restoreRequest, error) {
	req := m.restoreRequest(spec)
	machine, err := criu.ThisMachine(tool)
	if err != nil {
		return req, err
	}
	if req.held, err = criu.Hold(dir); errors.Is(err, os.ErrNotExist) {
		return req, fmt.Errorf("%w: there is none: %w", criu.ErrUnusable, err)
	} else if err != nil {
		return req, err
	}
	clonable, err := req.verify(tool, machine, spec, dir)
	if err != nil {
		_ = req.held.Close() // a folder
		return req, errors.Join(err, criu.Remove(dir))
	}
	if err := req.take(spec, dir, clonable); err != nil {
		_ = req.held.Close() // as above
		if req.Spent != "" {
			err = errors.Join(err, criu.Discard(req.Spent))
		}
		return req, err
	}
	return req, nil
}

// slowDisk is how many bytes a second memory is expected to come from a disk at
// the least.
const slowDisk = 64 << 20

// verify makes the request fit the checkpoint, or says why that cannot be used.
func (r *restoreRequest) verify(tool *criu.Tool, machine criu.Machine, spec Spec, dir string) (clonable bool, err error) {
	manifest, err := criu.Verify(dir, criu.Want{
		Site: spec.Site, SpecDigest: spec.SpecDigest, ImageDigest: spec.ImageDigest, Machine: machine,
	})
	if err != nil {
		return false, err
	}
	r.Lazy = tool.Lazy && manifest.Lazy() && !spec.Userns // userfaultfd(2) with the events of forks is for the initial user namespace
	if !r.Lazy {
		r.Timeout += time.Duration(manifest.Memory/slowDisk) * time.Second
	}
	for _, f := range manifest.MemoryFiles() {
		r.Memory = append(r.Memory, wire.MemoryFile(f))
	}
	if spec.RestoreWithin > 0 {
		r.Timeout = min(r.Timeout, spec.RestoreWithin)
	}
	return manifest.Clonable, r.follow(manifest.Restore, spec)
}

// take takes the writable layer, and the checkpoint too unless that may be used again.
func (r *restoreRequest) take(spec Spec, dir string, clonable bool) (err error) {
	if err := os.MkdirAll(filepath.Dir(spec.Upper), 0o700); err != nil {
		return fmt.Errorf("making a folder for the writable layer: %w", err)
	}
	if clonable {
		if err := fs.CopyDir(spec.Upper, filepath.Join(dir, criu.UpperDir)); err != nil {
			return fmt.Errorf("copying the writable layer of a checkpoint: %w", err)
		}
		return nil
	}
	if r.Spent, err = criu.Consume(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: somebody else has taken it: %w", criu.ErrUnusable, err)
	} else if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(r.Spent, criu.UpperDir), spec.Upper); err != nil {
		return fmt.Errorf("taking the writable layer of a checkpoint: %w", err)
	}
	return nil
}

// monitorLate is how much later than a restore has to be over its monitor may say
// that it is not.
const monitorLate = 2 * time.Second

func (m *Manager) restoreInto(ctx context.Context, tool *criu.Tool, spec Spec, req restoreRequest, timing *Timing) (*Container, error) {
	if err := mounts.OwnFolder(spec.Work); err != nil {
		return nil, fmt.Errorf("making a folder for the root file system: %w", err)
	}
	slot, err := m.restoreSlot(tool, spec)
	if err != nil {
		return nil, err
	}
	timing.add("monitor", wire.Now())
	if err := slot.group.Set(spec.Limits); err != nil {
		return nil, errors.Join(err, slot.discard())
	}
	state := m.state(spec, slot)
	if err := m.writeState(state); err != nil {
		return nil, errors.Join(err, slot.discard())
	}
	req.Sent = wire.Now()
	if err := slot.ask(req.RestoreRequest, spec.Netns, req.held); err != nil {
		return nil, errors.Join(fmt.Errorf("asking for the restore: %w", err), slot.abort())
	}
	// The monitor ends it in time. This is for a monitor that cannot.
	waiting, cancel := context.WithTimeoutCause(ctx, req.Timeout+monitorLate, fmt.Errorf("%w: its monitor gave no answer within %s", criu.ErrRestore, req.Timeout+monitorLate))
	defer cancel()
	reply, err := slot.wait(waiting, spec.name(), timing)
	if err != nil {
		m.otherPrograms(slot.generation, err) // for the cold start that comes next
		return nil, errors.Join(err, slot.abort())
	}
	_ = slot.conn.Close() // the shim says nothing more
	return m.adopt(state, reply.Init, slot.ended)
}

// restoreRequest is a request with what a checkpoint says.
type restoreRequest struct {
	wire.RestoreRequest
	held *os.File // the checkpoint's folder
}

func (m *Manager) restoreRequest(spec Spec) restoreRequest {
	start := m.request(spec)
	return restoreRequest{RestoreRequest: wire.RestoreRequest{
		ID: start.ID, Dir: start.Dir, Rootfs: start.Rootfs, Lower: spec.Lower, Upper: spec.Upper, Work: spec.Work,
		Monitor: start.Monitor, VolumeRoots: start.VolumeRoots, OwnFolders: start.OwnFolders, SecretRoots: start.SecretRoots, User: start.User, Timeout: m.opts.RestoreTimeout,
		NewPrivileges: spec.Privileges.New, AppArmor: spec.Privileges.AppArmor, ShmSize: spec.ShmSize,
	}}
}

// follow takes over what the checkpoint's maker has written down.
func (r *restoreRequest) follow(raw json.RawMessage, spec Spec) error {
	var from recipe
	if err := json.Unmarshal(raw, &from); err != nil {
		return fmt.Errorf("%w: reading its manifest: %w", criu.ErrUnusable, err)
	}
	if from.Userns != spec.Userns {
		return fmt.Errorf("%w: the user namespace of its processes is another one than the site has now", criu.ErrUnusable)
	}
	if !reflect.DeepEqual(from.Privileges, spec.Privileges) {
		return fmt.Errorf("%w: its processes have other privileges than the site has now", criu.ErrUnusable)
	}
	r.Binds, r.Streams, r.Owners, r.Nulls = from.Binds, from.Streams, from.Owners, from.Nulls
	r.ReadOnlyRoot = from.ReadOnlyRoot
	for _, was := range from.Sources {
		if was.Secret && was.Target == "" {
			r.InMemory = append(r.InMemory, was)
		}
	}
	for i := range r.Binds {
		b := &r.Binds[i]
		if b.Kind != wire.BindVolume {
			continue
		}
		var found bool
		if b.Volume, found = volumeAt(spec.Mounts, b.Key); !found {
			return fmt.Errorf("%w: it has a mount at %s, where the site has no volume", criu.ErrUnusable, b.Key)
		}
		for _, was := range from.Sources {
			if was.Path == b.Volume.Source && was.Inside == b.Volume.Inside && was.Target == b.Volume.Target {
				b.Volume.Was = was.Was
			}
		}
	}
	return nil
}

// volumeAt finds what is mounted at a place in the container: a volume, or
// something that is mounted inside of it. Its path is kept apart from the volume's, whose
// source may be a link that is followed only at the end.
func volumeAt(volumes []Mount, point string) (at Mount, found bool) {
	best := -1
	for _, v := range volumes {
		target := filepath.Clean(v.Target)
		if v.Tmpfs {
			continue // in the image
		}
		rest, inside := strings.CutPrefix(point, target)
		if inside && (rest == "" || rest[0] == '/') && len(target) > best {
			best, at, found = len(target), v, true
			at.Inside, at.Target = strings.TrimPrefix(rest, "/"), point
		}
	}
	return at, found
}

// restoresAhead is how many shims wait for a restore, once there may be one.
const restoresAhead = 1

// ExpectRestores has a shim with CRIU wait for a restore from now on. It is called where
// there may be one: by the first checkpoint, and by a daemon that finds some at its start.
func (m *Manager) ExpectRestores(ctx context.Context) error {
	return m.expectRestores(ctx, m.opts.Userns)
}

func (m *Manager) expectRestores(ctx context.Context, userns bool) error {
	tool, err := m.CRIU(ctx)
	switch {
	case err != nil:
		return err
	case userns:
		m.places.pool(m, true)
	default:
		m.restorePool(tool)
	}
	return nil
}

// restoreSlot gives a shim that waits for a restore, or makes one where CRIU has to be born
// in the container's network namespace.
func (m *Manager) restoreSlot(tool *criu.Tool, spec Spec) (*slot, error) {
	if spec.Userns {
		return m.placedSlot(spec, restoreArgs(tool)...)
	}
	pool := m.restorePool(tool)
	defer pool.refillSoon()
	return pool.take()
}

func (m *Manager) restorePool(tool *criu.Tool) *pool {
	m.criuMu.Lock()
	defer m.criuMu.Unlock()
	if m.restores == nil {
		m.restores = newPool(min(restoresAhead, m.opts.Ahead), func() (*slot, error) { return m.newShim(start{}, restoreArgs(tool)...) }, m.opts.Yield, m.log)
		m.restores.refill()
	}
	return m.restores
}

// flushRestores throws away those that wait for a restore.
func (m *Manager) flushRestores() {
	m.criuMu.Lock()
	pool := m.restores
	m.criuMu.Unlock()
	if pool != nil {
		pool.flush()
	}
}

func (m *Manager) closeRestores() error {
	m.criuMu.Lock()
	defer m.criuMu.Unlock()
	if m.restores == nil {
		return nil
	}
	return m.restores.close()
}
