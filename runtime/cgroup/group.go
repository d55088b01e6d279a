package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"golang.org/x/sys/unix"
)

// Parent is the cgroup above all replicas of a node.
type Parent struct {
	mount string // of cgroup v2
	group string // below it, e.g. "/fcnode"
	has   []string
}

// OpenParent makes the parent cgroup, or takes the one that is there, enables
// the controllers that the machine has for its children and attaches the device
// filter. group is absolute within the mount of cgroup v2, e.g. "/fcnode".
func OpenParent(group string) (*Parent, error) { return openParent(Mountpoint, group) }

func openParent(mount, group string) (*Parent, error) {
	if !strings.HasPrefix(group, "/") || group == "/" || filepath.Clean(group) != group {
		return nil, fmt.Errorf("cgroup %q for replicas: give an absolute path below the root, such as /fcnode", group)
	}
	if unified, err := isCgroup2(mount); err != nil {
		return nil, err
	} else if !unified {
		return nil, fmt.Errorf("%s is not cgroup v2: fcnode has to mount it privately first (EnterPrivate)", mount)
	}
	m, err := cgroup2.NewManager(mount, group, &cgroup2.Resources{})
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s below %s: %w; is it mounted writable?", group, mount, err)
	}
	p := &Parent{mount: mount, group: group}
	if err := vacate(p.Path()); err != nil {
		return nil, err
	}
	if p.has, err = enable(m, mount, group); err != nil {
		return nil, err
	}
	if err := ensureDeviceFilter(p.Path()); err != nil {
		return nil, err
	}
	return p, nil
}

// enable turns on the wanted controllers for the children of group and says
// which of them the children have. One that cannot be turned on is not an
// error: Detect says why it is missing.
func enable(m *cgroup2.Manager, mount, group string) ([]string, error) {
	offered, err := m.RootControllers()
	if err != nil {
		return nil, fmt.Errorf("read the controllers of %s: %w", mount, err)
	}
	child, err := cgroup2.Load(filepath.Join(group, "x"), cgroup2.WithMountpoint(mount))
	if err != nil {
		return nil, fmt.Errorf("name a child of cgroup %s: %w", group, err)
	}
	for _, w := range wanted {
		if slices.Contains(offered, w.name) {
			_ = child.ToggleControllers([]string{w.name}, cgroup2.Enable) // read back below
		}
	}
	b, err := os.ReadFile(filepath.Join(mount, group, "cgroup.subtree_control"))
	if err != nil {
		return nil, fmt.Errorf("read the controllers of cgroup %s: %w", group, err)
	}
	return strings.Fields(string(b)), nil
}

// Path is the absolute path of the parent cgroup, for programs that are
// attached to all replicas at once.
func (p *Parent) Path() string { return filepath.Join(p.mount, p.group) }

// Has reports whether replicas can be limited by the controller.
func (p *Parent) Has(controller string) bool { return slices.Contains(p.has, controller) }

// BoundMemory sets what all replicas have of memory together, in bytes. 0 is no bound:
// one that was set before is taken back, but for a parent that is not fcnode's own
// choice, whose file is somebody else's then.
func (p *Parent) BoundMemory(most uint64) error {
	if most == 0 && (!p.Has("memory") || p.group != Own && p.group != Delegated) {
		return nil
	}
	if !p.Has("memory") {
		return fmt.Errorf("bound the memory of cgroup %s (memory.max of the configuration): it has no memory controller; fcnode check says why", p.Path())
	}
	if err := os.WriteFile(filepath.Join(p.Path(), "memory.max"), []byte(orMax(most)), 0); err != nil {
		return fmt.Errorf("bound the memory of cgroup %s (memory.max of the configuration): %w", p.Path(), err)
	}
	return nil
}

// Create makes a fresh cgroup for one replica. Cgroups are never used twice.
func (p *Parent) Create(name string) (*Group, error) {
	g := p.Open(name)
	if err := os.Mkdir(g.Path(), 0o755); err != nil {
		return nil, fmt.Errorf("make the replica's cgroup: %w", err)
	}
	if p.Has("memory") {
		// Of an application that has lost one process nobody knows what still works.
		if err := g.write(write{controller: "memory", file: "memory.oom.group", value: "1"}); err != nil {
			return nil, errors.Join(err, g.Remove())
		}
	}
	return g, nil
}

// Open names the cgroup of a replica that an earlier daemon started.
func (p *Parent) Open(name string) *Group { return &Group{parent: p, name: name} }

// Names lists the cgroups below the parent.
func (p *Parent) Names() ([]string, error) {
	entries, err := os.ReadDir(p.Path())
	if err != nil {
		return nil, fmt.Errorf("list the replicas' cgroups: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !isLeaf(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// monitorsTime is for monitors of containers that have ended: they have told
// that, and are about to end.
const monitorsTime = 10 * time.Second

// Remove removes the parent cgroup; it fails while a replica is left in it.
// That of a unit of systemd stays, and goes with the unit.
func (p *Parent) Remove() error {
	if err := p.removeMonitors(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the cgroup of monitors: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(p.Path(), keeper)); err == nil {
		return nil
	}
	if err := unix.Rmdir(p.Path()); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", p.Path(), err)
	}
	return nil
}

// Clear removes all replicas' cgroups in a way that the caller gives, and then the parent.
func (p *Parent) Clear(remove func(*Group) error) error {
	names, err := p.Names()
	if err != nil {
		return err
	}
	errs := make([]error, 0, len(names)+1)
	for _, name := range names {
		errs = append(errs, remove(p.Open(name)))
	}
	return errors.Join(append(errs, p.Remove())...)
}

// removeMonitors removes the cgroup of monitors, when the last of them has
// ended.
func (p *Parent) removeMonitors() error {
	dir := filepath.Join(p.Path(), monitors)
	err := unix.Rmdir(dir)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if left, namesErr := p.Names(); namesErr != nil || len(left) > 0 {
		return errors.Join(err, namesErr) // they watch these
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitorsTime)
	defer cancel()
	if err := waitEvent(ctx, dir, "populated 0"); err != nil {
		return err
	}
	return unix.Rmdir(dir)
}

// Group is the cgroup of one replica.
type Group struct {
	parent *Parent
	name   string
}

// Name is the group's name below the parent.
func (g *Group) Name() string { return g.name }

// Path is the group's absolute path.
func (g *Group) Path() string { return filepath.Join(g.parent.Path(), g.name) }

// Set writes the limits of a fresh cgroup: those that are set. One whose
// controller is absent is left out.
func (g *Group) Set(l Limits) error { return g.setLimits(l, false) }

// Update changes the limits of a running replica to l, in place. What l does
// not limit becomes unlimited, but for disks that it does not name. Apply
// writes less, and takes care when memory shrinks.
func (g *Group) Update(l Limits) error { return g.setLimits(l, true) }

func (g *Group) setLimits(l Limits, all bool) error {
	if err := l.Validate(); err != nil {
		return err
	}
	ws := l.writes(all)
	if g.parent.Has("io") {
		devices, err := ioWrites(l.IO)
		if err != nil {
			return err
		}
		ws = append(ws, devices...)
	}
	for _, w := range ws {
		if !g.parent.Has(w.controller) {
			continue
		}
		if err := g.write(w); err != nil {
			return err
		}
	}
	return nil
}

// write writes one value into one file of the group.
func (g *Group) write(w write) error {
	fd, err := unix.Open(filepath.Join(g.Path(), w.file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(w.value))
		_ = unix.Close(fd) // the write has said it all
	}
	if w.file == swapFile && errors.Is(err, os.ErrNotExist) {
		if _, gone := os.Stat(g.Path()); gone == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write %q to %s of cgroup %s: %w", w.value, w.file, g.Path(), err)
	}
	return nil
}

// Unlimited names the controllers that l needs and that replicas do not have.
func (p *Parent) Unlimited(l Limits) []string {
	var missing []string
	need := func(set bool, controller string) {
		if set && !p.Has(controller) {
			missing = append(missing, controller)
		}
	}
	need(l.CPU != 0 || l.CPUWeight != 0, "cpu")
	need(l.MemoryLow|l.MemoryHigh|l.MemoryMax != 0 || l.MemorySwap != 0, "memory")
	need(l.Pids != 0, "pids")
	need(len(l.IO) > 0, "io")
	need(l.CPUSet != "", "cpuset")
	return missing
}

// Freeze stops all processes of the group and waits until they are stopped.
func (g *Group) Freeze(ctx context.Context) error { return g.freezer(ctx, "1", "frozen 1") }

// Thaw lets the processes of the group run again.
func (g *Group) Thaw(ctx context.Context) error { return g.freezer(ctx, "0", "frozen 0") }

// BeginThaw lets them run again soon, and does not wait for it.
func (g *Group) BeginThaw() error { return g.tellFreezer("0") }

// Frozen says whether the group was told to freeze.
func (g *Group) Frozen() (bool, error) {
	b, err := os.ReadFile(filepath.Join(g.Path(), "cgroup.freeze"))
	if err != nil {
		return false, fmt.Errorf("read the freezer of %s: %w", g.Path(), err)
	}
	return strings.TrimSpace(string(b)) == "1", nil
}

func (g *Group) freezer(ctx context.Context, value, event string) error {
	if err := g.tellFreezer(value); err != nil {
		return err
	}
	// The kernel calls the group frozen when its own processes are.
	children, err := cgroupfd.Below(g.Path())
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := waitEvent(ctx, g.Child(child), event); err != nil {
			return err
		}
	}
	return waitEvent(ctx, g.Path(), event)
}

func (g *Group) tellFreezer(value string) error {
	if err := os.WriteFile(filepath.Join(g.Path(), "cgroup.freeze"), []byte(value), 0); err != nil {
		return fmt.Errorf("write %s to the freezer of %s: %w", value, g.Path(), err)
	}
	return nil
}

// Child names a cgroup for processes that are ended before all others of the
// replica. It has no controllers of its own: the replica's limits, its freezer
// and what it counts apply to all of them.
func (g *Group) Child(name string) string { return filepath.Join(g.Path(), name) }

// EndChildren ends what is in such cgroups, and removes them.
func (g *Group) EndChildren(within time.Duration) error { return cgroupfd.EndBelow(g.Path(), within) }

// Procs lists the processes in the group and in its children, as seen from the
// caller's PID namespace.
func (g *Group) Procs() ([]int, error) {
	pids, err := procs(g.Path())
	if err != nil {
		return nil, err
	}
	children, err := cgroupfd.Below(g.Path())
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		more, err := procs(g.Child(child))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

func procs(group string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", group, err)
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("process %q in %s: %w", f, group, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// KillAll kills what is left in the group, one process at a time, and waits
// until it is empty. It is for a replica that has lost its monitor. A group
// that is gone is empty.
func (g *Group) KillAll(ctx context.Context) error {
	for {
		pids, err := g.Procs()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return waitEvent(ctx, g.Path(), "populated 0")
		}
		for _, pid := range pids {
			g.killMember(pid)
		}
		if err := waitMembersGone(ctx, pids); err != nil {
			return fmt.Errorf("kill the processes of %s: %w", g.Path(), err)
		}
	}
}

// killMember kills a process if it is still in the group: the pidfd is opened
// first, so that the process that is looked at is the one that is killed.
func (g *Group) killMember(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // gone
	}
	defer unix.Close(fd) // read only
	pids, err := g.Procs()
	if err == nil && slices.Contains(pids, pid) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone is fine
	}
}

// OOMKills is how many processes of the group the kernel has killed for lack
// of memory; 0 where memory is not accounted.
func (g *Group) OOMKills() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(g.Path(), "memory.events"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the memory events of %s: %w", g.Path(), err)
	}
	return cgroupfd.ParseOOMKills(string(b))
}

// Remove removes the group, which must be empty, and its children; one that is
// gone is fine.
func (g *Group) Remove() error {
	children, err := cgroupfd.Below(g.Path())
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := unix.Rmdir(g.Child(child)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", g.Child(child), err)
		}
	}
	if err := unix.Rmdir(g.Path()); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", g.Path(), err)
	}
	return nil
}
