package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the parent of all replicas' cgroups is, below the mount point.
const (
	// Auto has Root decide.
	Auto = "auto"
	// Delegated is the cgroup of the unit fcnode-sites.service, which systemd
	// leaves to fcnode (Delegate=yes): each cgroup has one writer, and that of
	// all others is systemd. The unit's processes are the sites', and it stays
	// when the daemon's unit is restarted.
	Delegated = "/fcnode.slice/fcnode-sites.service"
	// Own is fcnode's own, where there is no such unit.
	Own = "/fcnode"
)

// Leaves below the parent that are no replica's.
const (
	// keeper is for what runs in the parent's cgroup itself: a cgroup with
	// controllers for its children must have no processes of its own.
	keeper = "keeper"
	// monitors is for the replicas' monitors. They outlive the daemon, and
	// would be left over in its unit.
	monitors = "monitors"
)

func isLeaf(name string) bool { return name == keeper || name == monitors }

// Monitors is the cgroup of the replicas' monitors, to start them in. The
// caller closes it.
func (p *Parent) Monitors() (*os.File, error) {
	path := filepath.Join(p.Path(), monitors)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make a cgroup for monitors: %w", err)
	}
	// They are on every wake's way, and use next to nothing. A machine without
	// the controller goes without.
	_ = os.WriteFile(filepath.Join(path, "cpu.weight"), []byte("1000"), 0)
	f, err := os.OpenFile(path, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup for monitors: %w", err)
	}
	return f, nil
}

// Root is the configured parent or, for Auto, the one that fits this machine.
// It stays where it is as long as anything runs in it: a daemon that is
// upgraded adopts what an older one has started in Own, and the next boot takes
// the new place. An empty Own is removed then.
func Root(configured string) (string, error) {
	if configured != Auto {
		return configured, nil
	}
	return root(Mountpoint)
}

func root(mount string) (string, error) {
	for _, group := range []string{Own, Delegated} {
		busy, err := populated(filepath.Join(mount, group))
		if err != nil {
			return "", fmt.Errorf("look for the cgroup of the sites: %w", err)
		}
		if !busy {
			continue
		}
		if group == Delegated {
			removeEmpty(filepath.Join(mount, Own))
		}
		return group, nil
	}
	return Own, nil
}

// removeEmpty removes a cgroup, with those directly below it, where nothing
// runs in them.
func removeEmpty(path string) {
	below, err := os.ReadDir(path)
	if err != nil {
		return
	}
	for _, e := range below {
		if e.IsDir() {
			_ = unix.Rmdir(filepath.Join(path, e.Name())) // fails where something runs
		}
	}
	_ = unix.Rmdir(path) // as above
}

// populated says whether there is a process in a cgroup or below it.
func populated(path string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.Contains(string(b), "populated 1"), err
}

// vacate moves the processes of a cgroup into the keeper below it.
func vacate(path string) error {
	b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("look for processes in cgroup %s: %w", path, err)
	}
	pids := strings.Fields(string(b))
	if len(pids) == 0 {
		return nil
	}
	leaf := filepath.Join(path, keeper)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a cgroup for the processes of %s: %w", path, err)
	}
	for _, pid := range pids {
		err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return fmt.Errorf("move process %s from cgroup %s to %s: %w", pid, path, keeper, err)
		}
	}
	return nil
}
