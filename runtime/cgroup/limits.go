package cgroup

import (
	"errors"
	"fmt"
	"math"

	"github.com/containerd/cgroups/v3/cgroup2"
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
	// CPUWeight is the share under contention, 1 to 10000; 0 means the kernel's default, 100.
	CPUWeight uint64 `json:"cpu_weight,omitempty"`
	// MemoryLow is the memory, in bytes, that is reclaimed only when nothing else is left.
	MemoryLow uint64 `json:"memory_low,omitempty"`
	// MemoryHigh is the memory, in bytes, above which the replica is throttled and reclaimed.
	MemoryHigh uint64 `json:"memory_high,omitempty"`
	// MemoryMax is the memory, in bytes, above which the kernel kills.
	MemoryMax uint64 `json:"memory_max,omitempty"`
	// Pids is the greatest number of processes and threads.
	Pids int64 `json:"pids,omitempty"`
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
	return errors.Join(errs...)
}

// resources translates l for containerd/cgroups, leaving out the controllers
// that has denies. With all set, fields that are not limited are written too,
// to take back an earlier limit.
func (l Limits) resources(has func(controller string) bool, all bool) *cgroup2.Resources {
	r := &cgroup2.Resources{}
	if has("cpu") && (all || l.CPU != 0 || l.CPUWeight != 0) {
		r.CPU = l.cpu(all)
	}
	if has("memory") && (all || l.MemoryLow|l.MemoryHigh|l.MemoryMax != 0) {
		r.Memory = &cgroup2.Memory{
			Low:  bytesOr(l.MemoryLow, 0, all),
			High: bytesOr(l.MemoryHigh, math.MaxInt64, all),
			Max:  bytesOr(l.MemoryMax, math.MaxInt64, all),
		}
	}
	if has("pids") && (all || l.Pids != 0) {
		r.Pids = &cgroup2.Pids{Max: l.Pids}
		if l.Pids == 0 {
			r.Pids.Max = -1 // "max"
		}
	}
	return r
}

func (l Limits) cpu(all bool) *cgroup2.CPU {
	period := uint64(cpuPeriod)
	c := &cgroup2.CPU{}
	if l.CPU != 0 {
		quota := int64(math.Round(l.CPU * cpuPeriod))
		c.Max = cgroup2.NewCPUMax(&quota, &period)
	} else if all {
		c.Max = cgroup2.NewCPUMax(nil, &period)
	}
	weight := l.CPUWeight
	if weight == 0 && all {
		weight = 100
	}
	if weight != 0 {
		c.Weight = &weight
	}
	return c
}

// bytesOr gives the value to write: n, or none where n is 0 and it has to be written.
func bytesOr(n uint64, none int64, all bool) *int64 {
	v := int64(n)
	switch {
	case n != 0:
	case all:
		v = none
	default:
		return nil
	}
	return &v
}
