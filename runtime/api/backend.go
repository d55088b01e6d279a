package api

import (
	"context"
	"io"
	"iter"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Backend is the node as the server sees it.
//
// Errors: wrap [ErrNotFound], [ErrInvalid], [ErrConflict], [ErrBusy] or
// [ErrUnavailable], or return an [*Error] where a hint or details help; anything
// else reaches the client as an internal error. spec errors in the chain become
// details with file and line by themselves.
//
// A method returns soon after its context ends. The context of a call ends when the
// client goes away; that of a stream or an exec also when the daemon stops.
type Backend interface {
	// Apply creates or updates the sites, all or none. The specs have been decoded
	// and validated one by one; what concerns several sites (names, domains,
	// addresses) is the backend's to check. With dryRun it only says what it would do.
	Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]ApplyResult, error)
	// Pull unpacks what an image reference means now, if the node does not have it,
	// and yields how far it has come, the image last. Who does not wait for the end
	// leaves it to go on by itself.
	Pull(ctx context.Context, ref string) iter.Seq2[Pull, error]
	// Images returns the images that the node has unpacked, the oldest first.
	Images(ctx context.Context) ([]StoredImage, error)
	// Image returns one of them, with its layers and how it is run.
	Image(ctx context.Context, digest string) (StoredImage, error)
	// RemoveImage removes one that is not used; else ErrBusy.
	RemoveImage(ctx context.Context, digest string) error
	// PruneImages removes all that are not used. What was looked up since the last time stays.
	PruneImages(ctx context.Context) (Pruned, error)
	// SpecFile returns the text of a site's spec, also of a site that there is not
	// yet.
	SpecFile(ctx context.Context, name string) (SpecFile, error)
	// WriteSpec writes the text into the file that SpecFile has named, and applies
	// what it changes: both, or neither. ErrConflict if it is not the file any more
	// that had file.Digest.
	WriteSpec(ctx context.Context, name string, file SpecFile, dryRun bool) ([]ApplyResult, error)
	// Rollback makes a site what it was at a revision (0: before it was changed
	// last), with the image that it had then, in its file, too.
	Rollback(ctx context.Context, name string, revision uint64, dryRun bool) ([]ApplyResult, error)
	// Reload applies the folder of specs anew. With force also sites are deleted of
	// which so many are gone that the folder may be one that is not mounted.
	Reload(ctx context.Context, force bool) error
	// Delete stops the site's replicas and removes it, with purge its volumes, too.
	// It returns when they are gone.
	Delete(ctx context.Context, name string, purge bool) error
	// Volumes returns the named volumes of a site, or of all (""), ordered by name.
	Volumes(ctx context.Context, site string) ([]Volume, error)
	// Volume returns one of them, with what is in it.
	Volume(ctx context.Context, site, name string) (Volume, error)
	// RemoveVolume removes one that no site has; else ErrBusy.
	RemoveVolume(ctx context.Context, site, name string) error
	// BackUp copies a volume while nothing of its site runs, and returns the copy, and how
	// it was made. The caller closes it.
	BackUp(ctx context.Context, site, name string, opts BackupOptions) (Archive, Backup, error)
	// RestoreVolume puts what a tar archive has in the place of a volume, or makes one.
	// It returns ErrBusy, before anything is read, if a replica of the site is awake,
	// unless force. After an error the volume is as it was.
	RestoreVolume(ctx context.Context, site, name string, force bool, archive io.Reader) (ArchiveResult, error)
	// SnapshotVolume keeps a copy of a volume that shares its blocks with it, taken
	// while nothing of its site runs. ErrUnavailable where the file system cannot.
	SnapshotVolume(ctx context.Context, site, name, snapshot string, opts SnapshotOptions) (TakenSnapshot, error)
	// RestoreSnapshot puts a copy of a snapshot in the place of its volume, as RestoreVolume does.
	RestoreSnapshot(ctx context.Context, site, name, snapshot string, force bool) error
	// RemoveSnapshot removes one.
	RemoveSnapshot(ctx context.Context, site, name, snapshot string) error
	// ReadFiles finds what lies at a place. The caller closes the archive.
	ReadFiles(ctx context.Context, from FilePlace) (Archive, error)
	// WriteFiles unpacks a tar archive at a place. After an error some of it may be there.
	WriteFiles(ctx context.Context, to FilePlace, opts WriteOptions, archive io.Reader) (ArchiveResult, error)
	// Connect makes a TCP connection to a port within a replica, and keeps the replica
	// awake until it is told that the connection is over.
	Connect(ctx context.Context, name string, req ForwardRequest) (Connection, error)
	// List returns the sites, without their specs, ordered by name.
	List(ctx context.Context, opts ListOptions) ([]Site, error)
	// Get returns one site with its spec.
	Get(ctx context.Context, name string) (Site, error)
	// Wake returns when the site runs (at once when it does) or the start failed. If
	// the context ends before that the wake goes on.
	Wake(ctx context.Context, name string) (Site, error)
	// Park returns when the site is parked; ErrBusy while it has connections,
	// unless force.
	Park(ctx context.Context, name string, force bool) (Site, error)
	// Circulate replaces the site's replicas by fresh ones; it returns when that has
	// begun. ErrUnavailable when none runs. With newImage the site's image is looked
	// up anew before.
	Circulate(ctx context.Context, name string, newImage bool) (Site, error)
	// Check says on which tiers the site can sleep, and what is in the way of others.
	Check(ctx context.Context, name string) (SiteCheck, error)
	// Traces returns the last wakes of a site, the newest first, at most n.
	Traces(ctx context.Context, name string, n int) ([]event.Trace, error)
	// Why says why a site is on its tier, with its n last decisions.
	Why(ctx context.Context, name string, n int) (Why, error)
	// Info describes the node.
	Info(ctx context.Context) (NodeInfo, error)
	// Metrics writes what the node counts, in the text format of Prometheus.
	Metrics(ctx context.Context, w io.Writer) error
	// State writes what the node keeps of its sites, for an import.
	State(ctx context.Context, w io.Writer) error
	// Arrivals writes how many arrivals sites had in which minute, in the format of the
	// request traces. ErrUnavailable where the node records none.
	Arrivals(ctx context.Context, w io.Writer, opts ArrivalsOptions) error

	// Events yields the event log in order, beginning after opts.Since. Without follow
	// it ends with the newest event, with follow when the context ends (without an
	// error). An error is yielded last. Breaking out of the loop frees everything.
	Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error]
	// Logs yields a site's output in order of time, as Events does.
	Logs(ctx context.Context, name string, opts LogOptions) iter.Seq2[LogLine, error]

	// Routes yields the sites that have domains, for front ends: a line with the version, the routes that there are in the order
	// of their names, a line that says synced, and with follow what changes, until the context ends. An error is yielded last.
	Routes(ctx context.Context, follow bool) iter.Seq2[RouteUpdate, error]

	// Deny drops all packets of the prefixes in front of everything else, for a time or
	// (0) for good: all of them, or none.
	Deny(ctx context.Context, prefixes []netip.Prefix, lasting time.Duration) error
	// LetIn takes prefixes off the list, and returns how many of them were on it.
	LetIn(ctx context.Context, prefixes []netip.Prefix) (int, error)
	// Denied returns the list, in the order of the addresses.
	Denied(ctx context.Context) ([]Denial, error)

	// Exec starts a process in a running replica of the site; the site is not woken
	// for it (ErrUnavailable when it sleeps).
	Exec(ctx context.Context, name string, req ExecRequest) (Process, error)
}

// Process is a process started by Exec.
type Process interface {
	// PID as seen from the node.
	PID() int
	// Files are the master of the process' terminal, or, without one, the other ends
	// of the pipes that are its standard input, output and error. They belong to the
	// caller, who closes them. It is called once.
	Files() []*os.File
	// Signal sends a signal to the process.
	Signal(sig syscall.Signal) error
	// Wait returns when the process and all that it has started have ended. It is
	// called once; when its context ends it kills them and still waits for their end.
	Wait(ctx context.Context) (ExecResult, error)
}

// Stdio are the ends of the pipes to a process that has no terminal.
type Stdio struct {
	In, Out, Err *os.File
}

// ListOptions choose sites.
type ListOptions struct {
	// Awake leaves out sites of which nothing runs or stands ready.
	Awake bool
}

// ArrivalsOptions choose arrivals.
type ArrivalsOptions struct {
	// Site is the only one; all when empty.
	Site string
	// Since and Until bound the time; zero: all that is kept.
	Since, Until time.Time
	// Numbered puts numbers in the place of names.
	Numbered bool
}

// LogOptions choose lines.
type LogOptions struct {
	// Tail limits the lines from before the call to the last n; negative for all.
	Tail int
	// Since leaves out older lines; zero for none.
	Since time.Time
	// Replica limits the lines to those of one replica.
	Replica string
	// Follow goes on with lines as they are written, over replicas that come and go.
	Follow bool
}

// ExecRequest says what to execute.
type ExecRequest struct {
	// Replica to execute in; the oldest running one when empty.
	Replica string `json:"replica,omitempty"`
	// Args is the command with its arguments, found through the container's PATH.
	Args []string `json:"args"`
	// Env is added to the environment of the site.
	Env []string `json:"env,omitempty"`
	// Cwd is the site's when empty.
	Cwd string `json:"cwd,omitempty"`
	// User is the site's when empty: name, uid, user:group, uid:gid.
	User string `json:"user,omitempty"`
	// TTY gives the process a terminal of the given size.
	TTY  bool   `json:"tty,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
	Cols uint16 `json:"cols,omitempty"`
}

// ExecResult is how a process ended.
type ExecResult struct {
	// Code is the exit code, 128 + signal when a signal ended the process.
	Code int `json:"code"`
	// Signal is the name of that signal: SIGKILL.
	Signal string `json:"signal,omitempty"`
}
