package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/fcnode/fcnode/tests/vm/wire"
	"golang.org/x/sys/unix"
)

// mountSpareDisks mounts the disks that only tests use.
func mountSpareDisks() error {
	mounts := []mount{{wire.ScratchDevice, wire.Scratch, "ext4", unix.MS_NOATIME, "prjquota"}}
	if _, err := os.Stat(wire.AppsDevice); err == nil {
		mounts = append(mounts, mount{wire.AppsDevice, wire.Apps, "ext4", unix.MS_RDONLY | unix.MS_NOATIME, ""})
	}
	return mountAll(mounts)
}

const (
	zswap     = "/sys/module/zswap/parameters/enabled"
	zram      = "/dev/zram0"
	zramBytes = "536870912"
)

// enableSwap gives the machine swap of the kind that a node on this kernel would have: a disk behind zswap
// where the kernel has that, else compressed memory. It tells which.
func enableSwap() (string, error) {
	err := os.WriteFile(zswap, []byte("Y"), 0)
	if err == nil {
		return "a disk behind zswap", swapOn(wire.SwapDevice)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("enabling zswap: %w", err)
	}
	size := filepath.Join("/sys/block", filepath.Base(zram), "disksize")
	if err := os.WriteFile(size, []byte(zramBytes), 0); err != nil {
		return "", fmt.Errorf("giving zram its size: %w", err)
	}
	return "zram", swapOn(zram)
}

func swapOn(device string) error {
	for _, argv := range [][]string{{"mkswap", device}, {"swapon", device}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", argv, err, out)
		}
	}
	return nil
}
