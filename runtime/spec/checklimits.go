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
		for _, v := range []struct {
			field string
			n     int
		}{{"riops", l.Reads}, {"wiops", l.Writes}} {
			if v.n < 0 || v.n > maxIOPS {
				c.bad(at+"."+v.field, "1 to 2147483647", "%d is out of range", v.n)
			}
		}
		if l.ReadBytes < 0 || l.WriteBytes < 0 {
			c.bad(at, bytesAllowed, "has a negative rate")
		}
		if l == (IOLimit{Device: l.Device}) {
			c.bad(at, "at least one of rbps, wbps, riops, wiops", "limits nothing")
		}
	}
}
