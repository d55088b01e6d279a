package testutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own, that can be made to stall.
type Disk struct {
	Dir    string // where it is mounted
	fstype string
	t      testing.TB
}

// NewXFS makes one of xfs, whose files can share blocks, of the least size that there is.
func NewXFS(t testing.TB) *Disk {
	t.Helper()
	return newDisk(t, "xfs", 320<<20, "-q", "-m", "reflink=1")
}

// NewDisk makes one of ext4, of so many bytes, with options of mkfs.ext4 besides. It ends with the test, which is skipped
// where the machine cannot make one.
func NewDisk(t testing.TB, bytes int64, options ...string) *Disk {
	t.Helper()
	return newDisk(t, "ext4", bytes, append([]string{"-q", "-F"}, options...)...)
}

func newDisk(t testing.TB, fstype string, bytes int64, options ...string) *Disk {
	t.Helper()
	Privileged(t)
	mkfs, err := exec.LookPath("mkfs." + fstype)
	if err != nil {
		t.Skip(SkipMarker, "there is no mkfs."+fstype)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip(SkipMarker, "this kernel has no loop devices")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	base := t.TempDir()
	file, err := os.Create(filepath.Join(base, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), mkfs, append(options, file.Name())...).CombinedOutput(); err != nil {
		t.Fatalf("make a file system: %v\n%s", err, out)
	}
	d := &Disk{Dir: filepath.Join(base, "mnt"), fstype: fstype, t: t}
	if err := errors.Join(os.Mkdir(d.Dir, 0o755), d.mount(control, file)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // who had files open there is gone a moment before they are closed
		WaitFor(t, Timeout(10*time.Second), "the disk to be let go", func() error { return unix.Unmount(d.Dir, 0) })
	})
	return d
}

// mount takes a free loop device, which others may be quicker to take. It ends with the mount.
func (d *Disk) mount(control, file *os.File) error {
	for range 16 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a free loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			err = unix.Mount(name, d.Dir, d.fstype, 0, "")
		}
		_ = loop.Close() // nothing was written by it
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return errors.New("others take each loop device first")
}

// FIFREEZE and FITHAW of linux/fs.h.
const (
	freeze = 0xc0045877
	thaw   = 0xc0045878
)

// Stall lets whoever writes to the disk wait, and cannot be killed meanwhile, until resume is called, or a while has
// passed: a test that hangs must not leave the machine a file system which nobody can unmount.
func (d *Disk) Stall(most time.Duration) (resume func()) {
	d.t.Helper()
	dir, err := os.Open(d.Dir)
	if err == nil {
		err = unix.IoctlSetInt(int(dir.Fd()), freeze, 0)
	}
	if err != nil {
		d.t.Fatalf("stall the disk at %s: %v", d.Dir, err)
	}
	resume = sync.OnceFunc(func() {
		if err := errors.Join(unix.IoctlSetInt(int(dir.Fd()), thaw, 0), dir.Close()); err != nil {
			d.t.Errorf("let the disk go on: %v", err)
		}
	})
	late := time.AfterFunc(most, resume)
	d.t.Cleanup(func() { late.Stop(); resume() })
	return resume
}
