package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/monitor"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/file"
)

// Options of a Manager.
type Options struct {
	RunnerPath string // of fcnode-runner
	ShimPath   string // of fcnode-shim; "" means next to the runner
	// MonitorPath is of fcnode-monitor; "" means next to the runner.
	MonitorPath string
	RunDir      string // e.g. /run/fcnode: what does not outlive a boot
	CgroupRoot  string // parent cgroup of all replicas, e.g. /fcnode
	MemoryMax   uint64 // bytes that all of them have together; 0: no bound
	Ahead       int    // runners that wait for a request
	InitDir     string // where the first process of Spec.Init is kept; "": nobody asks for it
	LayerDir    string // where each container's folder of writable layers is; "": anywhere
	// VolumeRoots are the folders below which the sources of volumes have to lie.
	VolumeRoots []string
	// SecretRoots are the folders below which secrets have to lie.
	SecretRoots []string
	// OwnFolders are the node's: a source that is a link must not lead to one, into one or above one.
	OwnFolders []string

	CRIU       string // path of the program; "" means the first that works of the usual places
	LogMaxSize int64  // bytes, of each file of a site's log; 0 means the default
	LogFiles   int    // of a site's log; 0 means the default
	LogBytes   int64  // a second, of what each replica writes; 0: all are kept
	LogLines   int64  // the same
	Log        *slog.Logger

	// AdoptTimeout bounds Adopt, for all containers together: until it is over no
	// site that sleeps is woken. A start that is under way has a quarter of it. 0 means
	// the default.
	AdoptTimeout time.Duration

	// RestoreTimeout is how long a restore may take, and a second more for each 64 MiB of
	// memory that it copies; 0 means the default.
	RestoreTimeout time.Duration

	// IDRanges is how many containers may have user namespaces of their own at the
	// same time; 0 means all that there are numbers for.
	IDRanges int

	// Userns says that containers have user namespaces of their own as a rule: runners
	// wait for others only once there was one.
	Userns bool

	// Netns gives a network namespace that nobody has, to wait in for containers
	// with user namespaces of their own; nil: nothing waits for those.
	Netns func(context.Context) (Netns, error) `json:"-"`

	// Yield is called before a runner is made ahead, and returns when that may be
	// done; it is to return when hurry is closed. nil: at once.
	Yield func(hurry <-chan struct{}) `json:"-"`
}

const defaultAdoptTimeout = 20 * time.Second

// defaultRestoreTimeout is Options.RestoreTimeout of who says nothing.
const defaultRestoreTimeout = 10 * time.Second

// dumpTimeout is how long a dump that nobody wants any more may take to end: it is
// slower than a restore, and to kill it is to kill what it dumps.
func (o Options) dumpTimeout() time.Duration { return 3 * o.RestoreTimeout }

// Manager starts and adopts containers. It is safe for concurrent use.
type Manager struct {
	opts   Options
	parent *cgroup.Parent
	log    *slog.Logger
	pool   *pool

	programs *programs
	inits    initLayers
	monitors *os.File // their cgroup

	ids    *ids          // of user namespaces
	places *places       // for containers that have them
	prefix string        // of the names of this Manager's cgroups
	slots  atomic.Uint64 // how many it has made

	mu         sync.Mutex
	containers map[string]*Container // by ID; also those that are starting or prepared (nil)
	prepared   map[string]*Prepared  // by ID; those that wait

	criuMu   sync.Mutex
	criu     *criu.Tool // nil before it is needed
	restores *pool      // slots that wait to restore something; nil before the first checkpoint
}

// NewManager makes the folders and the parent cgroup and starts the runners
// that wait. Call Adopt before the first Start.
func NewManager(opts Options) (*Manager, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.ShimPath == "" {
		opts.ShimPath = filepath.Join(filepath.Dir(opts.RunnerPath), "fcnode-shim")
	}
	if opts.MonitorPath == "" {
		opts.MonitorPath = filepath.Join(filepath.Dir(opts.RunnerPath), monitor.Name)
	}
	opts.AdoptTimeout = cmp.Or(opts.AdoptTimeout, defaultAdoptTimeout)
	opts.RestoreTimeout = cmp.Or(opts.RestoreTimeout, defaultRestoreTimeout)
	for _, dir := range runDirs(opts.RunDir) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making a folder for running containers: %w", err)
		}
	}
	parent, err := cgroup.OpenParent(opts.CgroupRoot)
	if err != nil {
		return nil, err
	}
	if err := parent.BoundMemory(opts.MemoryMax); err != nil {
		return nil, err
	}
	programs, err := openPrograms(opts.RunnerPath, opts.ShimPath, opts.MonitorPath)
	if err != nil {
		return nil, err
	}
	monitors, err := parent.Monitors()
	if err != nil {
		return nil, errors.Join(err, programs.close())
	}
	m := &Manager{
		monitors: monitors,
		inits:    initLayers{dir: opts.InitDir, mu: &sync.Mutex{}},
		opts:     opts, parent: parent, programs: programs, log: opts.Log, prefix: cgroupPrefix(),
		ids:        newIDs(cmp.Or(opts.IDRanges, idRanges)),
		places:     newPlaces(),
		containers: map[string]*Container{}, prepared: map[string]*Prepared{},
	}
	m.pool = newPool(opts.Ahead, m.newSlot, opts.Yield, opts.Log)
	if !opts.Userns {
		m.pool.refill()
	}
	return m, nil
}

func runDirs(runDir string) []string {
	dirs := []string{replicasDir(runDir), filepath.Join(runDir, wire.RootfsDir), filepath.Join(runDir, wire.LibDir)}
	for _, name := range wire.SystemMounts() {
		dirs = append(dirs, filepath.Join(runDir, wire.SystemDir, name))
	}
	return dirs
}

func replicasDir(runDir string) string { return filepath.Join(runDir, wire.ReplicasDir) }

// libDir is where libcontainer keeps its state of the container in a cgroup.
func (m *Manager) libDir(cgroup string) string {
	return filepath.Join(m.opts.RunDir, wire.LibDir, cgroup)
}

func (m *Manager) dir(id string) string { return filepath.Join(replicasDir(m.opts.RunDir), id) }

// Parent is the cgroup above all replicas, to attach programs to.
func (m *Manager) Parent() *cgroup.Parent { return m.parent }

// Close ends the waiting runners and prepared containers. Containers run on.
func (m *Manager) Close() error {
	err := errors.Join(m.pool.close(), m.closeRestores(), m.places.close(), m.discardPrepared())
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.containers {
		if c != nil {
			c.letGo()
		}
	}
	return errors.Join(err, m.programs.close(), m.monitors.Close())
}

// Start starts a container. It returns when the container's program is being
// executed. Errors: ErrExec, ErrRootfs, ErrUser, ErrMount, ErrNoSpace, ErrSpec,
// ErrExists; after any of them nothing of the container is left. Where ctx
// ends first, the start is undone.
func (m *Manager) Start(ctx context.Context, spec Spec) (*Container, Timing, error) {
	timing := Timing{Started: wire.Now()}
	if err := spec.validate(); err != nil {
		return nil, timing, err
	}
	spec, err := m.withInit(spec)
	if err != nil {
		return nil, timing, err
	}
	if !m.reserve(spec.ID) {
		return nil, timing, fmt.Errorf("starting container %s: %w", spec.name(), ErrExists)
	}
	c, err := m.start(ctx, spec, &timing)
	if err != nil {
		err = errors.Join(err, m.undo(spec))
	}
	m.release(spec.ID, c)
	m.refillSoon(spec)
	return c, timing, err
}

func (m *Manager) start(ctx context.Context, spec Spec, timing *Timing) (*Container, error) {
	made, err := m.create(ctx, spec, false, timing)
	if err != nil {
		return nil, err
	}
	_ = made.slot.conn.Close() // the runner has ended
	return m.adopt(made.state, made.init, made.slot.ended)
}

// created is what a runner has made.
type created struct {
	slot  *slot
	state wire.State
	init  wire.Init
}

// create asks a waiting runner for the container, which then runs or, with hold,
// waits just before that. After an error there may be files.
func (m *Manager) create(ctx context.Context, spec Spec, hold bool, timing *Timing) (*created, error) {
	for {
		generation := m.programs.current()
		slot, err := m.slotFor(spec)
		if err != nil && m.otherPrograms(generation, err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		timing.add("runner", wire.Now())
		made, err := m.createIn(ctx, slot, spec, hold, timing)
		if err == nil || !m.otherPrograms(slot.generation, err) {
			return made, err
		}
		if err := errors.Join(context.Cause(ctx), m.undo(spec)); err != nil {
			return nil, err
		}
	}
}

func (m *Manager) createIn(ctx context.Context, slot *slot, spec Spec, hold bool, timing *Timing) (*created, error) {
	if err := slot.group.Set(spec.Limits); err != nil {
		return nil, errors.Join(err, slot.discard())
	}
	state := m.state(spec, slot)
	if err := m.writeState(state); err != nil {
		return nil, errors.Join(err, slot.discard())
	}
	timing.add("recorded state", wire.Now())
	req := m.request(spec)
	req.Hold = hold
	if err := slot.ask(req, spec.Netns); err != nil {
		return nil, errors.Join(fmt.Errorf("asking the runner to start container %s: %w", spec.name(), err), slot.abort())
	}
	reply, err := slot.wait(ctx, spec.name(), timing)
	if err != nil {
		return nil, errors.Join(err, slot.abort())
	}
	return &created{slot: slot, state: state, init: reply.Init}, nil
}

// wait receives the runner's answer.
func (s *slot) wait(ctx context.Context, id string, timing *Timing) (wire.StartReply, error) {
	stop := boundRead(ctx, s.conn)
	defer stop()
	var reply wire.StartReply
	_, err := wire.Recv(s.conn, &reply)
	for _, s := range reply.Steps {
		timing.add(s.Name, s.At)
	}
	timing.add("answered", wire.Now())
	switch {
	case err == nil:
		return reply, fromWire(id, reply.Error)
	case ctx.Err() != nil:
		return reply, fmt.Errorf("starting container %s: %w", id, context.Cause(ctx))
	case errors.Is(err, io.EOF):
		return reply, fmt.Errorf("starting container %s: the runner ended without an answer; was it killed, or is it of another release than fcnode?", id)
	}
	return reply, fmt.Errorf("starting container %s: %w", id, err)
}

func (m *Manager) state(spec Spec, slot *slot) wire.State {
	sig, _ := parseSignal(spec.StopSignal) // validated
	return wire.State{
		Version: wire.Version, ID: spec.ID, Site: spec.Site, Created: time.Now(), Shim: slot.shim, Cgroup: slot.group.Name(),
		Upper: spec.Upper, Work: spec.Work, LogDir: spec.LogDir, StopSignal: int(sig), Meta: spec.Meta,
		Privileges: spec.Privileges, IDs: slot.ids,
	}
}

func (m *Manager) writeState(state wire.State) error {
	dir := m.dir(state.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of container %s: %w", Name(state.ID), err)
	}
	return wire.WriteFile(dir, wire.StateFile, state)
}

func (m *Manager) request(spec Spec) wire.StartRequest {
	sig, _ := parseSignal(spec.StopSignal) // validated
	cwd := spec.Cwd
	if cwd == "" {
		cwd = "/"
	}
	dir := m.dir(spec.ID)
	return wire.StartRequest{
		ID: spec.name(), Sent: wire.Now(), Dir: dir, Rootfs: filepath.Join(m.opts.RunDir, wire.RootfsDir),
		Lower: spec.Lower, Upper: spec.Upper, Work: spec.Work, ReadOnlyRoot: spec.ReadOnlyRoot,
		ShmSize: spec.ShmSize, Foreign: spec.Architectures,
		Init: spec.initPath,
		Args: spec.Args, Env: withPath(spec.Env), Cwd: cwd, User: spec.User, Hostname: spec.Hostname,
		ResolvConf: spec.ResolvConf, Hosts: spec.Hosts, Mounts: spec.Mounts,
		VolumeRoots: m.opts.VolumeRoots, OwnFolders: m.opts.OwnFolders, SecretRoots: m.opts.SecretRoots, SecretEnv: spec.SecretEnv, Privileges: spec.Privileges,
		Monitor: wire.Monitor{
			ID: spec.name(), Dir: dir, LogDir: spec.LogDir, LogMaxSize: m.opts.LogMaxSize,
			LogFiles: m.opts.LogFiles, LogBytes: m.opts.LogBytes, LogLines: m.opts.LogLines, StopSignal: int(sig),
		},
	}
}

// reserve takes an ID; false if it is in use.
func (m *Manager) reserve(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, used := m.containers[id]; used {
		return false
	}
	m.containers[id] = nil
	return true
}

func (m *Manager) release(id string, c *Container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c == nil {
		delete(m.containers, id)
	} else {
		m.containers[id] = c
	}
}

// undo removes what a failed start has left.
func (m *Manager) undo(spec Spec) error {
	return removeAll(m.dir(spec.ID), spec.Upper, spec.Work)
}

// Remove removes what is left of a container that has ended: its own files,
// not its log.
func (m *Manager) Remove(id string) error {
	m.mu.Lock()
	c, known := m.containers[id]
	m.mu.Unlock()
	if !known || c == nil {
		return fmt.Errorf("removing container %s: %w", id, os.ErrNotExist)
	}
	if _, ended := c.Exit(); !ended {
		return fmt.Errorf("removing container %s: it is running; stop it first", id)
	}
	c.completeCheckpoint()
	if err := errors.Join(c.group.Remove(), file.RemoveAll(m.libDir(c.state.Cgroup)), removeAll(m.dir(id), c.state.Upper, c.state.Work)); err != nil {
		return fmt.Errorf("removing container %s: %w", id, err)
	}
	m.ids.giveBack(c.state.IDs)
	m.release(id, nil)
	return nil
}

// removeAll removes the folders of a replica, the record of it last: what was
// removed half is found again by Adopt.
func removeAll(dir, upper, work string) error {
	err := errors.Join(file.RemoveAll(upper), file.RemoveAll(work))
	if parent := filepath.Dir(upper); parent == filepath.Dir(work) {
		_ = os.Remove(parent) // only if it was made for this replica alone, and is empty
	}
	if err != nil {
		return err
	}
	return removeRecord(dir)
}

// removeRecord removes a container's folder. What says that it ran goes first and
// state.json last: of what was removed half the next Adopt removes the rest.
func removeRecord(dir string) error {
	_ = os.Remove(filepath.Join(dir, wire.InitFile)) // or else it is removed below
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == wire.StateFile {
			continue
		}
		if err := file.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return file.RemoveAll(dir)
}
