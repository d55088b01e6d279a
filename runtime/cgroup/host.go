package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"golang.org/x/sys/unix"
)

// Mountpoint is where cgroup v2 is expected, and where EnterPrivate mounts it.
const Mountpoint = cgroupfd.Mountpoint

// wanted are the controllers that fcnode uses, each with what it is used for
// and its name in /proc/cgroups.
var wanted = []struct{ name, limits, v1 string }{
	{"cpu", "CPU time (limits.cpu)", "cpu"},
	{"memory", "memory (limits.memory)", "memory"},
	{"pids", "the number of processes (limits.pids)", "pids"},
	{"io", "disk input and output (limits.io)", "blkio"},
	{"cpuset", "which processors are used", "cpuset"},
}

// Host says what the cgroup v2 hierarchy at a mount point offers.
type Host struct {
	// Unified is true where cgroup v2 is mounted at the mount point.
	Unified bool
	// Private is true in a process that EnterPrivate has moved into a mount
	// namespace of its own.
	Private bool
	// Controllers are those in cgroup.controllers of the root.
	Controllers []string
	// Lacks are the wanted controllers that are absent.
	Lacks []Lack
}

// Lack is something that cannot be limited on this machine.
type Lack struct {
	Controller string `json:"controller"` // e.g. "memory"
	Limits     string `json:"limits"`     // what it would limit
	Why        string `json:"why"`
	Remedy     string `json:"remedy"` // what the operator can do
}

// String is one line for logs.
func (l Lack) String() string {
	return fmt.Sprintf("cannot limit %s: %s; %s", l.Limits, l.Why, l.Remedy)
}

// Detect looks at the hierarchy at Mountpoint.
func Detect() (Host, error) { return detect(Mountpoint, "/proc/cgroups") }

func detect(mountpoint, procCgroups string) (Host, error) {
	h := Host{Private: private()}
	var err error
	if h.Unified, err = isCgroup2(mountpoint); err != nil {
		return h, err
	}
	if h.Unified {
		b, err := os.ReadFile(filepath.Join(mountpoint, "cgroup.controllers"))
		if err != nil {
			return h, fmt.Errorf("read the controllers of cgroup v2 at %s: %w", mountpoint, err)
		}
		h.Controllers = strings.Fields(string(b))
	}
	legacy, err := os.ReadFile(procCgroups)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return h, fmt.Errorf("read the kernel's controllers: %w", err)
	}
	h.Lacks = lacks(h.Controllers, parseProcCgroups(string(legacy)))
	return h, nil
}

// Has reports whether cgroup v2 offers the controller.
func (h Host) Has(controller string) bool { return slices.Contains(h.Controllers, controller) }

func isCgroup2(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// legacyController is a line of /proc/cgroups.
type legacyController struct {
	hierarchy string // "0" when it is not bound to a v1 hierarchy
	enabled   bool
}

// parseProcCgroups reads /proc/cgroups: name, hierarchy, number of cgroups,
// enabled.
func parseProcCgroups(text string) map[string]legacyController {
	m := make(map[string]legacyController)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 4 || strings.HasPrefix(line, "#") {
			continue
		}
		m[f[0]] = legacyController{hierarchy: f[1], enabled: f[3] == "1"}
	}
	return m
}

func lacks(have []string, legacy map[string]legacyController) []Lack {
	var ls []Lack
	for _, w := range wanted {
		if slices.Contains(have, w.name) {
			continue
		}
		l := Lack{Controller: w.name, Limits: w.limits}
		switch c, known := legacy[w.v1]; {
		case known && !c.enabled:
			l.Why = fmt.Sprintf("the kernel was booted with cgroup_disable=%s", w.v1)
			l.Remedy = "boot without that parameter"
		case known && c.hierarchy != "0":
			l.Why = fmt.Sprintf("the %s controller is in use by cgroup v1", w.v1)
			l.Remedy = "boot with systemd.unified_cgroup_hierarchy=1 (or without the cgroup v1 mounts)"
		case known:
			l.Why = fmt.Sprintf("cgroup v2 does not offer the %s controller here", w.name)
			l.Remedy = "let whoever started fcnode (a container manager, systemd) delegate it"
		default:
			l.Why = fmt.Sprintf("this kernel has no %s controller", w.name)
			l.Remedy = "use a kernel that is built with it"
		}
		ls = append(ls, l)
	}
	return ls
}
