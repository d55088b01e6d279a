package container

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mount is one that a container sees.
type mount struct {
	id            int
	point         string
	root          string // what of the file system is mounted
	source        string
	fstype        string
	readOnly      bool
	pid           int // a process that sees it
	superReadOnly bool
}

// mountsOf lists the mounts that a process sees.
func mountsOf(pid int) ([]mount, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, fmt.Errorf("listing a container's mounts: %w", err)
	}
	defer f.Close() // read only
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("listing a container's mounts: %w", err)
	}
	var mounts []mount
	for _, i := range infos {
		mounts = append(mounts, mount{
			id: i.ID, point: i.Mountpoint, root: i.Root, source: i.Source, fstype: i.FSType, pid: pid,
			readOnly:      slices.Contains(strings.Split(i.Options, ","), "ro"),
			superReadOnly: slices.Contains(strings.Split(i.VFSOptions, ","), "ro"),
		})
	}
	return mounts, nil
}

// bindKind says how a mount is made at a restore, if not from the image. A file
// system in memory is put into an image by an archiver that takes 5 ms each time, so only those
// are in which the application has left something.
func (m mount) bindKind(userns bool) wire.BindKind {
	switch {
	case m.fstype == "sysfs" && userns:
		return wire.BindSys
	case m.point == "/", m.fstype == "proc", m.fstype == "sysfs", m.fstype == "devpts", m.fstype == "mqueue":
		return ""
	case m.fstype == "tmpfs" && m.source == mounts.TmpfsSource:
		return ""
	case m.fstype == "cgroup2":
		return wire.BindCgroup
	case m.fstype == "tmpfs" && m.root == "/null":
		return wire.BindNull
	case m.fstype == "tmpfs" && m.superReadOnly:
		return wire.BindEmpty
	case m.point == "/dev" && m.fstype == "tmpfs":
		if m.used() > freshDev {
			return ""
		}
		return wire.BindDev
	case m.point == "/dev/shm" && m.fstype == "tmpfs":
		if m.used() > 1 { // the folder itself
			return ""
		}
		return wire.BindShm
	}
	return wire.BindVolume
}

// freshDev is how many inodes the /dev of a new container has: the folder
// itself, the devices, the links and the mount points.
const freshDev = 1 + 6 + 6 + 3

// used is how many inodes of a file system are in use, also by files that are
// deleted and still open; many if that cannot be found out.
func (m mount) used() uint64 {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(fmt.Sprintf("/proc/%d/root", m.pid), m.point), &st); err != nil {
		return 1 << 20
	}
	return st.Files - st.Ffree
}

// strayNulls names, as CRIU does, the open files of processes that are /dev/null
// of a mount they do not see: the standard input of a container was opened
// before its root was there.
func strayNulls(pids []int, mounts []mount) []string {
	seen := map[int]bool{}
	for _, m := range mounts {
		seen[m.id] = true
	}
	var keys []string
	for _, pid := range pids {
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // it is frozen; CRIU meets the same error
		for _, fd := range fds {
			var st unix.Stat_t
			err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()), &st)
			if err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
				continue
			}
			id := mountID(pid, fd.Name())
			if key := fmt.Sprintf("file[%x:%x]", id, st.Ino); !seen[id] && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// mountID is the mount of an open file; 0 is none.
func mountID(pid int, fd string) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return 0
	}
	defer f.Close() // read only
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "mnt_id:"); ok {
			id, _ := strconv.Atoi(strings.TrimSpace(value)) // the kernel's own number
			return id
		}
	}
	return 0
}
