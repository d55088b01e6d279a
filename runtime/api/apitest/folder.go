package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/archive"
)

// Folder answers as the part of a backend that is about files and connections.
type Folder struct {
	Dir   string          // what all places and volumes are
	Err   error           // comes at the end of each archive
	Done  chan struct{}   // told when a forwarded connection is over
	Ended <-chan struct{} // the replica's
}

func (f *Folder) open() (*os.File, error) { return os.Open(f.Dir) }

type packing struct {
	dir  *os.File
	path string
	err  error // at its end
}

// Close implements api.Archive.
func (p *packing) Close() error { return p.dir.Close() }

// Write implements api.Archive.
func (p *packing) Write(ctx context.Context, w io.Writer) (api.ArchiveResult, error) {
	r, err := archive.Pack(ctx, w, archive.In(p.dir), p.path, archive.Owners{}, "")
	return api.ArchiveResult{Files: r.Files, Bytes: r.Bytes, Skipped: r.Skipped, Left: r.Left}, errors.Join(err, p.err)
}

// BackUp implements api.Backend, of the volume html of any site.
func (f *Folder) BackUp(_ context.Context, site, name string, opts api.BackupOptions) (api.Archive, api.Backup, error) {
	if name != "html" {
		return nil, api.Backup{}, fmt.Errorf("volume %s/%s: %w", site, name, api.ErrNotFound)
	}
	dir, err := f.open()
	return &packing{dir: dir, path: "/", err: f.Err}, api.Backup{StillNs: opts.StillFor, Files: 3, CopiedBytes: 7}, err
}

// RestoreVolume implements api.Backend; without force the site is busy.
func (f *Folder) RestoreVolume(ctx context.Context, site, name string, force bool, in io.Reader) (api.ArchiveResult, error) {
	if !force {
		return api.ArchiveResult{}, &api.Error{Code: api.CodeBusy, Message: "it runs", Hint: "--force"}
	}
	return f.WriteFiles(ctx, api.FilePlace{Site: site, Volume: name, Path: "/"}, api.WriteOptions{}, in)
}

// ReadFiles implements api.Backend.
func (f *Folder) ReadFiles(_ context.Context, from api.FilePlace) (api.Archive, error) {
	dir, err := f.open()
	if err == nil {
		err = archive.In(dir).Check(from.Path)
	}
	if err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Message: err.Error()}
	}
	return &packing{dir: dir, path: from.Path, err: f.Err}, nil
}

// WriteFiles implements api.Backend.
func (f *Folder) WriteFiles(ctx context.Context, to api.FilePlace, _ api.WriteOptions, in io.Reader) (api.ArchiveResult, error) {
	dir, err := f.open()
	if err != nil {
		return api.ArchiveResult{}, err
	}
	defer dir.Close()
	r, err := archive.Unpack(ctx, in, archive.In(dir), to.Path, archive.Unpacking{})
	return api.ArchiveResult{Files: r.Files, Bytes: r.Bytes, Skipped: r.Skipped, Left: r.Left}, err
}

// Connect implements api.Backend: it connects to the machine itself.
func (f *Folder) Connect(ctx context.Context, name string, req api.ForwardRequest) (api.Connection, error) {
	if req.Asleep {
		return api.Connection{}, &api.Error{Code: api.CodeUnavailable, Message: "site sleeps"}
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(req.Port)))
	if err != nil {
		return api.Connection{}, err
	}
	defer c.Close()
	socket, err := c.(*net.TCPConn).File()
	return api.Connection{Socket: socket, Replica: name + "-1", Done: func() { f.Done <- struct{}{} }, Ended: f.Ended}, err
}
