package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// recordFile is libcontainer's name for its record of a container.
const recordFile = "state.json"

// target is the container that a process is executed in: what its init is
// confined by, held by descriptors. libcontainer's own record names processes by
// numbers, which other processes get later, and lacks the namespaces that Gate
// or CRIU have entered.
type target struct {
	req        wire.ExecRequest
	namespaces configs.Namespaces // of init, as far as this process is in others
	held       []*os.File
	root       *os.File
	limits     []configs.Rlimit

	capabilities    []string // that init may have at the most
	noNewPrivileges bool
	profile         string // of AppArmor; "": none
	owner           int    // the machine's number of its root
}

// openTarget fails where it cannot tell for certain that all of it is the container's.
func openTarget(req wire.ExecRequest) (*target, error) {
	init, err := req.Init.Open()
	if err != nil {
		return nil, gone(req, err)
	}
	defer init.Close() // a pidfd
	t := &target{req: req}
	err = errors.Join(t.checkCgroup(), t.openNamespaces(), t.openRoot(), t.readLimits(), t.readPrivileges(), t.readOwner())
	// Everything above went by the number. It was init's if init is still there.
	if over, lookErr := wire.Ended(init); over {
		err = wire.ErrGone
	} else {
		err = errors.Join(err, lookErr)
	}
	if err != nil {
		t.close()
		return nil, gone(req, err)
	}
	return t, nil
}

func gone(req wire.ExecRequest, err error) error {
	err = fmt.Errorf("container %s cannot be entered, nothing was executed: %w", req.ID, err)
	if errors.Is(err, wire.ErrGone) {
		return fail(wire.KindGone, "%w", err)
	}
	return err
}

func (t *target) close() {
	for _, f := range append(t.held, t.root) {
		if f != nil {
			_ = f.Close() // a path or a namespace
		}
	}
}

// checkCgroup makes sure that init is a process of this replica.
func (t *target) checkCgroup() error {
	dir, err := os.Open(t.req.Cgroup)
	if err != nil {
		return fmt.Errorf("opening the replica's cgroup: %w", err)
	}
	defer dir.Close() // read only
	pids, err := cgroupfd.Procs(dir)
	if err == nil && !slices.Contains(pids, t.req.Init.Pid) {
		err = fmt.Errorf("process %d, its first one, is not in cgroup %s", t.req.Init.Pid, t.req.Cgroup)
	}
	return err
}

// openNamespaces opens each namespace of init that is not this process' own:
// those can neither be entered again nor need to be.
func (t *target) openNamespaces() error {
	for _, kind := range configs.NamespaceTypes() {
		name := configs.NsName(kind)
		var own, theirs unix.Stat_t
		err := unix.Stat("/proc/self/ns/"+name, &own)
		if errors.Is(err, unix.ENOENT) {
			continue // the kernel has none of that kind
		}
		if err != nil {
			return fmt.Errorf("looking at this process' %s namespace: %w", name, err)
		}
		f, err := os.Open(t.proc("ns/" + name))
		if err != nil {
			return fmt.Errorf("opening its %s namespace: %w", name, err)
		}
		t.held = append(t.held, f)
		if err := unix.Fstat(int(f.Fd()), &theirs); err != nil {
			return fmt.Errorf("looking at its %s namespace: %w", name, err)
		}
		if theirs.Dev == own.Dev && theirs.Ino == own.Ino {
			continue
		}
		// libcontainer's child, which is another process, opens it.
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
		t.namespaces = append(t.namespaces, configs.Namespace{Type: kind, Path: path})
	}
	for _, kind := range []configs.NamespaceType{configs.NEWNET, configs.NEWNS, configs.NEWPID} {
		if !t.namespaces.Contains(kind) {
			return fmt.Errorf("its first process is in the machine's own %s namespace", configs.NsName(kind))
		}
	}
	return nil
}

func (t *target) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(t.req.Init.Pid), name)
}

func (t *target) openRoot() (err error) {
	t.root, err = os.OpenFile(t.proc("root"), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		err = fmt.Errorf("opening its root file system: %w", err)
	}
	return err
}

// readLimits takes init's resource limits, as far as this process may have as
// much: those of the daemon that executes need not be those of the one that
// has started the container.
func (t *target) readLimits() error {
	b, err := os.ReadFile(t.proc("limits")) // prlimit(2) takes CAP_SYS_RESOURCE for another user's process
	if err != nil {
		return fmt.Errorf("reading its resource limits: %w", err)
	}
	lines := strings.Split(string(b), "\n")
	for kind := unix.RLIMIT_CPU; kind <= unix.RLIMIT_RTTIME; kind++ {
		theirs, err := parseLimit(lines, kind)
		if err != nil {
			return fmt.Errorf("reading its resource limit %d: %w", kind, err)
		}
		var own unix.Rlimit
		if err := unix.Prlimit(0, kind, nil, &own); err != nil {
			return fmt.Errorf("reading this process' resource limit %d: %w", kind, err)
		}
		hard := min(own.Max, theirs.Max)
		t.limits = append(t.limits, configs.Rlimit{Type: kind, Hard: hard, Soft: min(theirs.Cur, hard)})
	}
	return nil
}

// parseLimit reads a line of /proc/PID/limits, which has the limits in the order
// of their numbers below a line of headings: a name of 25 characters, soft and
// hard limit.
func parseLimit(lines []string, kind int) (limit unix.Rlimit, err error) {
	const name = 25
	if kind+1 >= len(lines) || len(lines[kind+1]) < name {
		return limit, errors.New("the kernel does not tell it")
	}
	fields := strings.Fields(lines[kind+1][name:])
	if len(fields) < 2 {
		return limit, fmt.Errorf("the kernel tells %q", lines[kind+1])
	}
	for i, value := range []*uint64{&limit.Cur, &limit.Max} {
		if fields[i] == "unlimited" {
			*value = unix.RLIM_INFINITY
		} else if *value, err = strconv.ParseUint(fields[i], 10, 64); err != nil {
			return limit, err
		}
	}
	return limit, nil
}

// readPrivileges takes those of init, whatever the defaults of this release are.
func (t *target) readPrivileges() error {
	b, err := os.ReadFile(t.proc("status"))
	if err != nil {
		return fmt.Errorf("reading its privileges: %w", err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	bound, err := strconv.ParseUint(status["CapBnd"], 16, 64)
	if err != nil {
		return fmt.Errorf("reading its capabilities: %w", err)
	}
	for _, c := range capability.ListKnown() {
		if bound&(1<<c) != 0 {
			t.capabilities = append(t.capabilities, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	t.noNewPrivileges = status["NoNewPrivs"] != "0"
	t.profile, err = apparmor.Of(t.req.Init.Pid)
	if err != nil || t.profile == "" {
		return err
	}
	own, err := apparmor.Of(os.Getpid())
	if t.profile == own { // fcnode is confined itself, and that is inherited
		t.profile = ""
	}
	return err
}

// readOwner finds the machine's number of the container's root.
func (t *target) readOwner() error {
	b, err := os.ReadFile(t.proc("uid_map"))
	if err == nil {
		var inside int
		_, err = fmt.Sscan(string(b), &inside, &t.owner)
	}
	if err != nil {
		return fmt.Errorf("reading the users of its user namespace: %w", err)
	}
	return nil
}

// load gives libcontainer its record of the container, with all that is known better.
func (t *target) load() (c *libcontainer.Container, remove func(), err error) {
	slot := filepath.Base(t.req.Cgroup)
	var state libcontainer.State
	err = wire.ReadFile(filepath.Join(t.req.LibDir, slot), recordFile, &state)
	if err != nil {
		return nil, nil, fmt.Errorf("reading libcontainer's record of container %s: %w", t.req.ID, err)
	}
	if state.ID != slot || state.InitProcessPid != t.req.Init.Pid || state.InitProcessStartTime != t.req.Init.Start {
		return nil, nil, fmt.Errorf("libcontainer's record %s is of process %d, the first one of container %s is %d: nothing was executed; stop this replica",
			slot, state.InitProcessPid, t.req.ID, t.req.Init.Pid)
	}
	if state.Config.Seccomp == nil {
		return nil, nil, fmt.Errorf("libcontainer's record of container %s has no seccomp filter: nothing was executed", t.req.ID)
	}
	state.Config.Namespaces = t.namespaces
	state.Config.Rlimits = t.limits
	state.Config.NoNewPrivileges = t.noNewPrivileges
	state.Config.AppArmorProfile = t.profile
	// Not Rootless, as at the start: what cannot be put there must not run.
	state.Config.Cgroups = &cgroups.Cgroup{Resources: &cgroups.Resources{}}
	state.CgroupPaths = map[string]string{"": t.req.Cgroup}
	if state.Config.Umask == nil { // recorded by an earlier release
		state.Config.Umask = &umask
	}
	dir, err := os.MkdirTemp(t.req.Dir, "exec-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a record for an exec in container %s: %w", t.req.ID, err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // at the latest with the replica's folder
	if err = os.Mkdir(filepath.Join(dir, slot), 0o700); err == nil {
		err = wire.WriteFile(filepath.Join(dir, slot), recordFile, state)
	}
	if err == nil {
		c, err = libcontainer.Load(dir, slot)
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("loading container %s: %w", t.req.ID, err)
	}
	return c, remove, nil
}
