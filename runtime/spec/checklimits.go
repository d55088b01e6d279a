package spec

import (
	"fmt"
	"math"
	"slices"
)

const (
	minStep, maxStep = 1.1, 16
	maxIOPS          = math.MaxInt32
)

// Check reports what is wrong with limits that are no site's, by the paths that they
// would have in a spec.
func (l Limits) Check(report func(path string, err error)) { checker{report: report}.limits(l) }

// limits checks each limit by itself and against the others of its kind.
func (c checker) limits(l Limits) {
	c.cpu(l.CPU)
	c.memory(l.Memory)
	switch {
	case l.Pids.Max < 1 || l.Pids.Max > maxPids:
		c.bad("limits.pids.max", "1 to 4194304", "%d is out of range", l.Pids.Max)
	case l.Pids.Min < 0:
		c.bad("limits.pids.min", "1 to 4194304", "%d is out of range", l.Pids.Min)
	case l.Pids.Min > l.Pids.Max:
		c.bad("limits.pids.min", "min up to max", "%d is more than limits.pids.max, %d", l.Pids.Min, l.Pids.Max)
	}
	c.step("limits.pids", l.Pids.Step, l.Pids.Scaled())
	c.io(l.IO)
	if b := l.Disk.Bytes; b != 0 && b < MiB {
		c.bad("limits.disk.bytes", "sizes from 1MiB", "%s is too small", b)
	}
	if n := l.Disk.Inodes; n != 0 && n < minInodes {
		c.bad("limits.disk.inodes", "numbers from 1000", "%d is too small", n)
	}
}

func (c checker) cpu(l CPULimits) {
	for _, v := range []struct {
		path string
		cpu  CPU
	}{{"limits.cpu.min", l.Min}, {"limits.cpu.max", l.Max}} {
		if v.cpu != 0 && !(v.cpu >= MinCPU && v.cpu <= MaxCPU) { // NaN is not in the range either
			c.bad(v.path, cpuAllowed, "%v is out of range", float64(v.cpu))
		}
	}
	if l.Max != 0 && l.Min > l.Max {
		c.bad("limits.cpu.min", "min up to max", "%v is more than limits.cpu.max, %v", float64(l.Min), float64(l.Max))
	}
	c.step("limits.cpu", l.Step, l.Scaled())
}

func (c checker) memory(l MemoryLimits) {
	marks := []struct {
		path string
		size Bytes
	}{{"limits.memory.min", l.Min}, {"limits.memory.high", l.High}, {"limits.memory.max", l.Max}}
	for i, m := range marks {
		if m.size != 0 && m.size < minMemory {
			c.bad(m.path, "sizes from 1MiB", "%s is too small for any process", m.size)
		}
		for _, upper := range marks[i+1:] {
			if m.size != 0 && upper.size != 0 && m.size > upper.size {
				c.bad(m.path, "min up to high up to max", "%s is more than %s, %s", m.size, upper.path, upper.size)
				break
			}
		}
	}
	c.step("limits.memory", l.Step, l.Scaled())
	if l.Follow && !l.Scaled() {
		c.bad("limits.memory.follow", "min and max, and min less than max", "has no effect: only where memory is scaled memory.max can follow")
	}
	if l.Swap < NoSwap {
		c.bad("limits.memory.swap", swapAllowed, "%d is negative", int64(l.Swap))
	}
}

// step checks the factor of a raise, which means nothing where nothing is scaled.
func (c checker) step(path string, step float64, scaled bool) {
	switch {
	case step == 0:
	case !(step >= minStep && step <= maxStep):
		c.bad(path+".step", "1.1 to 16", "%v is out of range", step)
	case !scaled:
		c.bad(path+".step", "min and max, and min less than max", "%v has no effect: only a limit with min and max is scaled", step)
	}
}

func (c checker) io(list []IOLimit) {
	for i, l := range list {
		at := fmt.Sprintf("limits.io[%d]", i)
		if c.path(at+".device", l.Device) && slices.IndexFunc(list, func(o IOLimit) bool { return o.Device == l.Device }) < i {
			c.bad(at+".device", "each device once", "%s stands in the list twice", l.Device)
		}
		c.byteRate(at+".rbps", l.ReadBytes)
		c.byteRate(at+".wbps", l.WriteBytes)
		c.opsRate(at+".riops", l.Reads)
		c.opsRate(at+".wiops", l.Writes)
		for _, r := range l.Rates() {
			c.step(at+"."+r.Name, r.Step, r.Scaled())
		}
		if l == (IOLimit{Device: l.Device}) {
			c.bad(at, "at least one of rbps, wbps, riops, wiops", "limits nothing")
		}
	}
}

func (c checker) byteRate(at string, r ByteRate) {
	switch {
	case r == ByteRate{}:
	case r.Min < 0 || r.Max < 0:
		c.bad(at, bytesAllowed, "has a negative rate")
	case r.Max == 0:
		c.bad(at, "max, or min and max", "has no max")
	case r.Min > r.Max:
		c.bad(at+".min", "min up to max", "%s is more than %s.max, %s", r.Min, at, r.Max)
	}
}

func (c checker) opsRate(at string, r OpsRate) {
	switch {
	case r == OpsRate{}:
	case r.Min < 0 || r.Min > maxIOPS:
		c.bad(at+".min", opsAllowed, "%d is out of range", r.Min)
	case r.Max < 0 || r.Max > maxIOPS:
		c.bad(at+".max", opsAllowed, "%d is out of range", r.Max)
	case r.Max == 0:
		c.bad(at, "max, or min and max", "has no max")
	case r.Min > r.Max:
		c.bad(at+".min", "min up to max", "%d is more than %s.max, %d", r.Min, at, r.Max)
	}
}
