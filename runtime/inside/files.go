package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/archive"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/sites"
	"github.com/fcnode/fcnode/runtime/volume"
)

// files are those of a replica or of a volume. To their owner "/" is the folder.
type files struct {
	root    *os.File
	owners  archive.Owners
	path    string
	replica string // whose they are; empty: a volume's
	done    func()
}

// Write implements api.Archive.
func (f *files) Write(ctx context.Context, w io.Writer) (api.ArchiveResult, error) {
	r, err := archive.Pack(ctx, w, archive.In(f.root), f.path, f.owners, "")
	return sites.Archived(r), fileError(ctx, err)
}

// Close implements api.Archive.
func (f *files) Close() error {
	defer f.done()
	return f.root.Close()
}

// ReadFiles implements api.Backend.
func (b Replicas) ReadFiles(ctx context.Context, from api.FilePlace) (api.Archive, error) {
	f, err := b.files(ctx, from)
	if err != nil {
		return nil, err
	}
	if err := archive.In(f.root).Check(from.Path); err != nil {
		return nil, errors.Join(fileError(ctx, err), f.Close())
	}
	b.tellCopied(ctx, from, f, false)
	return f, nil
}

// WriteFiles implements api.Backend.
func (b Replicas) WriteFiles(ctx context.Context, to api.FilePlace, opts api.WriteOptions, in io.Reader) (api.ArchiveResult, error) {
	f, err := b.files(ctx, to)
	if err != nil {
		return api.ArchiveResult{}, err
	}
	defer f.Close()
	how := archive.Unpacking{Owners: f.owners, Keep: opts.Keep}
	if opts.Chown != "" {
		how.Chown = true
		if how.UID, how.GID, err = ownerIn(archive.In(f.root), opts.Chown); err != nil {
			return api.ArchiveResult{}, &api.Error{Code: api.CodeInvalid, Message: err.Error()}
		}
	}
	b.tellCopied(ctx, to, f, true)
	r, err := archive.Unpack(ctx, in, archive.In(f.root), to.Path, how)
	return sites.Archived(r), fileError(ctx, err)
}

func (b Replicas) tellCopied(ctx context.Context, p api.FilePlace, f *files, into bool) {
	fields := map[string]any{"path": p.Path, "into": into, "uid": api.PeerUID(ctx)}
	what := p.Path
	if p.Volume != "" {
		fields["volume"] = p.Volume
		what = "volume " + p.Volume + ", " + what
	}
	way := "out of "
	if into {
		way = "into "
	}
	b.host.Tell(event.Event{Site: p.Site, Replica: f.replica, Kind: event.Copied, Reason: way + commandLine([]string{what}), Fields: fields})
}

// files opens a place. A replica is kept awake until they are closed.
func (b Replicas) files(ctx context.Context, p api.FilePlace) (*files, error) {
	if p.Volume != "" {
		dir, err := volume.OpenDir(b.host.NamedVolumes.Path(p.Site, p.Volume))
		if errors.Is(err, fs.ErrNotExist) {
			err = sites.NoVolume(p.Site, p.Volume)
		}
		if err != nil {
			return nil, err
		}
		return &files{root: dir, path: p.Path, done: func() {}}, nil
	}
	e, err := b.byName(p.Site)
	if err != nil {
		return nil, err
	}
	r, done, err := b.session(ctx, e, p.Replica)
	if err != nil {
		return nil, err
	}
	root, owners, err := r.OpenRoot()
	if err != nil {
		done()
		return nil, Wired(p.Site, err)
	}
	return &files{root: root, owners: owners, path: p.Path, replica: r.Name, done: done}, nil
}

// session finds a replica and keeps it awake until done is called.
func (b Replicas) session(ctx context.Context, e *life.Site, wanted string) (r *life.Replica, done func(), err error) {
	if r, err = running(ctx, e, wanted); err != nil {
		return nil, nil, err
	}
	done = e.Session(r)
	if err := e.Rouse(ctx, r); err != nil {
		done()
		return nil, nil, err
	}
	return r, done, nil
}

// fileError says that what is in the way is in the site, or in the archive.
func fileError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &api.Error{Code: api.CodeInvalid, Message: err.Error()}
}

// ownerIn finds "USER[:GROUP]", by name or number, as the tree's passwd has them.
func ownerIn(t archive.Tree, who string) (uid, gid int, err error) {
	const most = 1 << 20 // bytes of passwd, and of group
	passwd, errPasswd := t.ReadFile("/etc/passwd", most)
	group, errGroup := t.ReadFile("/etc/group", most)
	u, err := user.GetExecUser(who, &user.ExecUser{Uid: 0, Gid: math.MinInt}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return 0, 0, errors.Join(fmt.Errorf("chown %s: %w", who, err), errPasswd, errGroup)
	}
	if u.Gid == math.MinInt { // a number that passwd does not know
		if name, _, ok := strings.Cut(who, ":"); ok || strconv.Itoa(u.Uid) != name {
			return 0, 0, fmt.Errorf("chown %s: it has no group; give USER:GROUP", who)
		}
		u.Gid = u.Uid
	}
	return u.Uid, u.Gid, nil
}
