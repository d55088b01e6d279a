package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Swap says where memory that is not backed by files can go when it is
// reclaimed. Without any, a sleeping site keeps such memory.
type Swap struct {
	Size uint64 `json:"size"` // bytes, all areas
	Used uint64 `json:"used"`
	Zram bool   `json:"zram"` // an area is compressed memory
	Disk bool   `json:"disk"` // an area is on a disk
	// Zswap means that pages are compressed in memory before they go to an
	// area.
	Zswap bool `json:"zswap"`
}

// Free is the room that is left, in bytes.
func (s Swap) Free() uint64 { return s.Size - min(s.Used, s.Size) }

// String says what reclaim can rely on.
func (s Swap) String() string {
	if s.Size == 0 {
		return "no swap: only file pages can be reclaimed; give the machine zram (modprobe zram, zramctl, mkswap, swapon) or a swap file"
	}
	var to string
	switch {
	case s.Zram && s.Disk:
		to = "compressed memory (zram) and disk"
	case s.Zram:
		to = "compressed memory (zram)"
	case s.Zswap:
		to = "compressed memory before disk (zswap)"
	default:
		to = "disk"
	}
	return fmt.Sprintf("swap to %s, %d of %d MiB free", to, s.Free()>>20, s.Size>>20)
}

// DetectSwap looks at the machine's swap areas.
func DetectSwap() (Swap, error) {
	return detectSwap("/proc/swaps", "/sys/module/zswap/parameters/enabled")
}

func detectSwap(swaps, zswap string) (Swap, error) {
	var s Swap
	b, err := os.ReadFile(swaps)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil // a kernel without swap
	}
	if err != nil {
		return s, fmt.Errorf("read the swap areas: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // name, type, size, used, priority
		if len(f) != 5 || f[0] == "Filename" {
			continue
		}
		size, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return s, fmt.Errorf("the size of swap area %s: %w", f[0], err)
		}
		used, err := strconv.ParseUint(f[3], 10, 64)
		if err != nil {
			return s, fmt.Errorf("the use of swap area %s: %w", f[0], err)
		}
		s.Size += size << 10
		s.Used += used << 10
		if strings.HasPrefix(filepath.Base(f[0]), "zram") {
			s.Zram = true
		} else {
			s.Disk = true
		}
	}
	// Of use only with an area behind it.
	on, err := os.ReadFile(zswap)
	s.Zswap = err == nil && s.Size > 0 && strings.HasPrefix(string(on), "Y")
	return s, nil
}
