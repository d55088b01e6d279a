package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoDisk means that a path leads to no disk whose use could be limited.
var ErrNoDisk = errors.New("no disk whose use can be limited")

// Disk is a block device as io.max knows it: whole, not a partition.
type Disk struct{ Major, Minor uint32 }

func (d Disk) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Rates are four figures of a disk: bytes read and written, reads and writes.
// Of a limit, 0 is none.
type Rates [4]uint64

// ParseIOMax reads io.max: what is limited of each disk.
func ParseIOMax(text string) map[Disk]Rates {
	out := map[Disk]Rates{}
	for line := range strings.Lines(text) {
		if disk, rates, ok := parseRates(line, [4]string{"rbps", "wbps", "riops", "wiops"}); ok {
			out[disk] = rates
		}
	}
	return out
}

// parseRates reads a line of io.max or io.stat. What is "max", or no number, is
// 0.
func parseRates(line string, names [4]string) (d Disk, out Rates, ok bool) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return d, out, false
	}
	major, minor, _ := strings.Cut(fields[0], ":")
	ma, bad := strconv.ParseUint(major, 10, 32)
	mi, err := strconv.ParseUint(minor, 10, 32)
	if bad != nil || err != nil {
		return d, out, false
	}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if i := slices.Index(names[:], key); i >= 0 {
			out[i] = single(value)
		}
	}
	return Disk{uint32(ma), uint32(mi)}, out, true
}

// FindDisk resolves the path of a block device, or of something on a file
// system, to the disk below it. Errors: ErrNoDisk, fs.ErrNotExist.
func FindDisk(path string) (Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Disk{}, fmt.Errorf("look for the disk of %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return wholeDisk(st.Rdev)
	}
	if unix.Major(st.Dev) != 0 {
		return wholeDisk(st.Dev)
	}
	// The number is made up, as btrfs does: the mount knows the device.
	source, fstype, err := mountSource(st.Dev)
	if err != nil {
		return Disk{}, err
	}
	if err := unix.Stat(source, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Disk{}, fmt.Errorf("%s is on a file system of type %s: %w", path, fstype, ErrNoDisk)
	}
	return wholeDisk(st.Rdev)
}

// wholeDisk gives the disk of a partition, and others as they are.
func wholeDisk(dev uint64) (Disk, error) {
	d := Disk{unix.Major(dev), unix.Minor(dev)}
	dir := "/sys/dev/block/" + d.String()
	if _, err := os.Stat(filepath.Join(dir, "partition")); errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Disk{}, fmt.Errorf("look for the disk of partition %s: %w", d, err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(real), "dev"))
	if err != nil {
		return Disk{}, fmt.Errorf("look for the disk of partition %s: %w", d, err)
	}
	if _, err := fmt.Sscanf(string(b), "%d:%d", &d.Major, &d.Minor); err != nil {
		return Disk{}, fmt.Errorf("the number %q of the disk of a partition: %w", b, err)
	}
	return d, nil
}

// mountSource finds what a file system was mounted from, by its number.
func mountSource(dev uint64) (source, fstype string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", fmt.Errorf("read the mounts: %w", err)
	}
	want := strconv.Itoa(int(unix.Major(dev))) + ":" + strconv.Itoa(int(unix.Minor(dev)))
	for line := range strings.Lines(string(b)) {
		head, tail, _ := strings.Cut(line, " - ")
		f, rest := strings.Fields(head), strings.Fields(tail)
		if len(f) > 2 && f[2] == want && len(rest) > 1 {
			return rest[1], rest[0], nil
		}
	}
	return "", "unknown", nil
}

// ioWrites are the lines for io.max. What a limit does not name is "max", so
// that each line replaces all of an earlier one of its disk.
func ioWrites(limits []IOLimit) ([]write, error) {
	var ws []write
	seen := map[Disk]string{}
	for _, l := range limits {
		d, err := FindDisk(l.Device)
		if err != nil {
			return nil, fmt.Errorf("io limit: %w", err)
		}
		if other, twice := seen[d]; twice {
			return nil, fmt.Errorf("io limits of %s and %s: both are on disk %s; give one limit for it", other, l.Device, d)
		}
		seen[d] = l.Device
		ws = append(ws, write{"io", "io.max", fmt.Sprintf("%s rbps=%s wbps=%s riops=%s wiops=%s",
			d, orMax(l.ReadBytes), orMax(l.WriteBytes), orMax(l.Reads), orMax(l.Writes))})
	}
	return ws, nil
}
