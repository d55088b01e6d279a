package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stageRoot is the argument that tells this program that it runs from the disk.
const stageRoot = "on-disk"

// jobDir is where the second disk is mounted, and the program itself found again.
const jobDir = "/job"

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("making mount point %s: %w", m.target, err)
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// enterRoot goes from the initramfs to the root on the first disk and runs this program there.
func enterRoot() error {
	const root = "/newroot"
	if err := mountAll([]mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
	}); err != nil {
		return err
	}
	if err := insertModules("/modules"); err != nil {
		return err
	}
	for _, disk := range []string{"/dev/vda", "/dev/vdb"} {
		if err := waitForDevice(disk, time.Minute); err != nil {
			return err
		}
	}
	if err := mountAll([]mount{
		{"/dev/vda", root, "ext4", unix.MS_NOATIME, ""},
		{"/dev/vdb", root + jobDir, "ext4", unix.MS_NOATIME, ""},
	}); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, root+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s to the new root: %w", dir, err)
		}
	}
	// What switch_root does: an initramfs cannot be pivoted away from.
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing to the new root: %w", err)
	}
	self := filepath.Join(jobDir, "guest")
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb"}
	return fmt.Errorf("running %s: %w", self, unix.Exec(self, []string{self, stageRoot}, env))
}

// insertModules loads the modules of a folder in the order of their names.
func insertModules(dir string) error {
	paths, err := filepath.Glob(dir + "/*.ko")
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading module %s: %w", filepath.Base(path), err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// waitForDevice waits until devtmpfs shows a device. Nothing runs here yet that could
// miss a deadline, so a poll is as good as listening for uevents.
func waitForDevice(path string, d time.Duration) error {
	for deadline := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s within %v: %w", path, d, err)
		}
	}
}
