package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// cpuPeriod is the period in which CPU time is accounted, in microseconds. It
// is the kernel's default.
const cpuPeriod = 100_000

// minCPU is the smallest quota that the kernel takes: 1 ms in each period.
const minCPU = 0.01

// Limits of one replica. The zero value of each field means: not limited.
type Limits struct {
	// CPU is the most CPU time, in cores: 0.25 is a quarter of one core.
	CPU float64 `json:"cpu,omitempty"`
	// CPUWeight is the share under contention, 1 to 10000; 0 means the kernel's
	// default, 100.
	CPUWeight uint64 `json:"cpu_weight,omitempty"`
	// MemoryLow is the memory, in bytes, that is reclaimed only when nothing
	// else is left.
	MemoryLow uint64 `json:"memory_low,omitempty"`
	// MemoryHigh is the memory, in bytes, above which the replica is throttled
	// and reclaimed.
	MemoryHigh uint64 `json:"memory_high,omitempty"`
	// MemoryMax is the memory, in bytes, above which the kernel kills.
	MemoryMax uint64 `json:"memory_max,omitempty"`
	// MemorySwap is what may lie in swap, in bytes, or NoSwap. What lies there
	// already stays.
	MemorySwap int64 `json:"memory_swap,omitempty"`
	// Pids is the greatest number of processes and threads.
	Pids int64 `json:"pids,omitempty"`
	// IO are the limits of reading and writing, one for each device.
	IO []IOLimit `json:"io,omitempty"`
	// CPUSet are the processors that may be used, as the kernel writes them:
	// "0-1,3".
	CPUSet string `json:"cpu_set,omitempty"`
}

// NoSwap as Limits.MemorySwap keeps everything in memory.
const NoSwap = -1

// swapFile is absent where the kernel has no swap: then there is nothing to
// bound.
const swapFile = "memory.swap.max"

// IOLimit limits reading and writing of one disk. The zero value of each field
// means: not limited.
type IOLimit struct {
	// Device is the path of a block device, or of something on the file system
	// whose disk is meant.
	Device     string `json:"device"`
	ReadBytes  uint64 `json:"rbps,omitempty"`  // in a second
	WriteBytes uint64 `json:"wbps,omitempty"`  // in a second
	Reads      uint64 `json:"riops,omitempty"` // operations in a second
	Writes     uint64 `json:"wiops,omitempty"` // operations in a second
}

// Validate says what the kernel would not take.
func (l Limits) Validate() error {
	var errs []error
	if math.IsNaN(l.CPU) || l.CPU < 0 || (l.CPU > 0 && l.CPU < minCPU) || l.CPU > 1<<20 {
		errs = append(errs, fmt.Errorf("cpu limit of %v cores: allowed are 0 (none) and %v and above", l.CPU, minCPU))
	}
	if l.CPUWeight > 10_000 {
		errs = append(errs, fmt.Errorf("cpu weight %d: allowed are 0 (the default) to 10000", l.CPUWeight))
	}
	if l.Pids < 0 {
		errs = append(errs, fmt.Errorf("limit of %d processes: allowed are 0 (none) and above", l.Pids))
	}
	for _, m := range []struct {
		name  string
		bytes uint64
	}{{"low", l.MemoryLow}, {"high", l.MemoryHigh}, {"max", l.MemoryMax}} {
		if m.bytes > math.MaxInt64 {
			errs = append(errs, fmt.Errorf("memory %s of %d bytes is more than the kernel can count", m.name, m.bytes))
		}
	}
	if l.MemorySwap < NoSwap {
		errs = append(errs, fmt.Errorf("swap limit of %d bytes: allowed are %d (none), 0 (not limited) and above", l.MemorySwap, NoSwap))
	}
	if l.CPUSet != "" && !validCPUSet.MatchString(l.CPUSet) {
		errs = append(errs, fmt.Errorf("processors %q: give numbers and ranges, such as 0-1,3", l.CPUSet))
	}
	for i, d := range l.IO {
		if !filepath.IsAbs(d.Device) {
			errs = append(errs, fmt.Errorf("io limit of device %q: give an absolute path", d.Device))
		}
		if slices.ContainsFunc(l.IO[:i], func(o IOLimit) bool { return o.Device == d.Device }) {
			errs = append(errs, fmt.Errorf("two io limits of device %s", d.Device))
		}
	}
	return errors.Join(errs...)
}

var validCPUSet = regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)

// write is one value for one file of a cgroup.
type write struct{ controller, file, value string }

const (
	unlimited    = "max"
	defaultShare = 100 // cpu.weight
)

// writes are those of all limits that are set or, with all, of every limit, to
// take back an earlier one. Devices of IO have to be resolved: see ioWrites.
func (l Limits) writes(all bool) []write {
	var ws []write
	add := func(set bool, controller, file, value string) {
		if set || all {
			ws = append(ws, write{controller, file, value})
		}
	}
	add(l.CPU != 0, "cpu", "cpu.max", cpuMax(l.CPU))
	add(l.CPUWeight != 0, "cpu", "cpu.weight", number(orUint(l.CPUWeight, defaultShare)))
	add(l.CPUSet != "", "cpuset", "cpuset.cpus", orAll(l.CPUSet))
	add(l.MemoryLow != 0, "memory", "memory.low", number(l.MemoryLow))
	add(l.MemoryHigh != 0, "memory", "memory.high", orMax(l.MemoryHigh))
	add(l.MemoryMax != 0, "memory", "memory.max", orMax(l.MemoryMax))
	add(l.MemorySwap != 0, "memory", swapFile, swapMax(l.MemorySwap))
	add(l.Pids != 0, "pids", "pids.max", orMax(uint64(max(l.Pids, 0))))
	return ws
}

// cpuMax is the value of cpu.max.
func cpuMax(cores float64) string {
	quota := unlimited
	if cores != 0 {
		quota = strconv.FormatInt(int64(math.Round(cores*cpuPeriod)), 10)
	}
	return quota + " " + strconv.Itoa(cpuPeriod)
}

// swapMax is the value of memory.swap.max.
func swapMax(bytes int64) string {
	if bytes == NoSwap {
		return "0"
	}
	return orMax(uint64(max(bytes, 0)))
}

// orAll names all processors for none: the kernel refuses an empty set where
// there are processes.
func orAll(set string) string {
	if set == "" {
		return processors()
	}
	return set
}

// processors are those that this machine can ever have.
var processors = sync.OnceValue(func() string {
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return "0-" + strconv.Itoa(runtime.NumCPU()-1)
	}
	return strings.TrimSpace(string(b))
})

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func orMax(n uint64) string {
	if n == 0 {
		return unlimited
	}
	return number(n)
}

func orUint(n, missing uint64) uint64 {
	if n == 0 {
		return missing
	}
	return n
}
