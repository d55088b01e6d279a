package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/moby/sys/capability"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/disk"
	"github.com/fcnode/fcnode/runtime/volume"
)

// toolTimeout bounds how long CRIU may take to say what it is.
const toolTimeout = 5 * time.Second

// Local is the machine that this process runs on.
type Local struct{}

// Release implements [Machine].
func (Local) Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// UID implements [Machine].
func (Local) UID() int { return os.Geteuid() }

// Capabilities implements [Machine].
func (Local) Capabilities() (uint64, error) {
	have, err := capability.NewPid2(0)
	if err == nil {
		err = have.Load()
	}
	if err != nil {
		return 0, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	var mask uint64
	for c := range capability.Cap(64) {
		if have.Get(capability.EFFECTIVE, c) {
			mask |= 1 << c
		}
	}
	return mask, nil
}

// ReadFile implements [Machine].
func (Local) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

// Executable implements [Machine].
func (Local) Executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s is not a program", path)
	case fi.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	return nil
}

// CRIU implements [Machine].
func (Local) CRIU(configured string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	tool, err := criu.Find(ctx, configured)
	if err != nil {
		return "", err
	}
	return tool.String(), nil
}

// Group implements [Machine].
func (Local) Group(name string) error {
	if _, err := user.LookupGroup(name); err != nil {
		return fmt.Errorf("no group %s", name)
	}
	return nil
}

// FSType implements [Machine].
func (Local) FSType(path string) (int64, error) {
	var st unix.Statfs_t
	err := nearest(path, func(dir string) error {
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("ask for the file system of %s: %w", dir, err)
		}
		return nil
	})
	return st.Type, err
}

// ProjectQuotas implements [Machine].
func (Local) ProjectQuotas(path string) error {
	return nearest(path, func(dir string) error {
		q, err := disk.OpenQuotas(dir)
		if err != nil {
			return err
		}
		return q.Close()
	})
}

// nearest asks at a path, or at the nearest folder above it that exists.
func nearest(path string, ask func(dir string) error) error {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		err := ask(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" || dir == "." {
			return err
		}
	}
}

// Mapped implements [Machine] with a mount that is attached nowhere.
func (Local) Mapped(path string) error {
	mapping, err := volume.ProbeMapping()
	if err != nil {
		return err
	}
	defer mapping.Userns.Close()
	return nearest(path, func(dir string) error {
		f, err := os.OpenFile(dir, unix.O_PATH, 0)
		if err != nil {
			return err
		}
		defer f.Close() // a path descriptor
		tree, err := mapping.Clone(f)
		if err != nil {
			return err
		}
		return tree.Close()
	})
}

// Mountable implements [Machine] with a mount that is attached nowhere.
// Overlayfs would need layers to be mounted, and NFS a server; that the kernel
// knows them is enough.
func (Local) Mountable(fstype string) ([]string, error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("the kernel has no %s", fstype)
	}
	if err != nil {
		return nil, fmt.Errorf("open file system type %s: %w", fstype, err)
	}
	defer unix.Close(ctx)
	if fstype == "overlay" || fstype == nfsType {
		return nil, nil
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("make a %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", fstype, err)
	}
	defer unix.Close(fd)
	if fstype != "cgroup2" {
		return nil, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/cgroup.controllers", fd))
	if err != nil {
		return nil, fmt.Errorf("read the controllers of cgroup v2: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// LinkKind implements [Machine] in a network namespace of its own.
func (Local) LinkKind(kind string) error {
	return thread.Throwaway(func() error { return tryLink(kind) }) // the namespace ends with it
}

func tryLink(kind string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	attrs := netlink.LinkAttrs{Name: "probe"}
	var l netlink.Link = &netlink.GenericLink{LinkAttrs: attrs, LinkType: kind}
	if kind == "veth" {
		l = &netlink.Veth{LinkAttrs: attrs, PeerName: "peer"}
	}
	err := netlink.LinkAdd(l)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the kernel has no links of kind %s", kind)
	}
	if err != nil {
		return fmt.Errorf("make a link of kind %s: %w", kind, err)
	}
	return nil
}

// Cgroup implements [Machine].
func (Local) Cgroup() (cgroup.Host, error) { return cgroup.Detect() }

// BPF implements [Machine].
func (Local) BPF() []bpf.Feature { return bpf.Probe() }

// AppArmor implements [Machine].
func (Local) AppArmor() (has apparmor.Profiles, loaded bool) {
	return apparmor.Look(context.Background())
}
