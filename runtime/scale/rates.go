package scale

import (
	"fmt"
	"math"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ioRate is one rate of one disk that is scaled. Each is a limit of its own: who reads much need not be
// given writes.
type ioRate struct {
	IOKey
	device int // in limits.io of the spec
	limit  detect.Limit
}

// IOKey is what sites have in common: a rate of a disk, whatever path their specs name it by.
type IOKey struct {
	disk cgroup.Disk
	rate int // in spec.RateNames
}

// newRates are the rates that are scaled, at the most that they may be. A disk that is not there has none: the
// start says so.
func newRates(disks []spec.IOLimit, find func(path string) (cgroup.Disk, error)) []ioRate {
	var out []ioRate
	for i, d := range disks {
		if !d.Scaled() {
			continue
		}
		disk, err := find(d.Device)
		if err != nil {
			continue
		}
		for k, r := range d.Rates() {
			if r.Scaled() {
				top := float64(r.Max)
				out = append(out, ioRate{IOKey{disk, k}, i, detect.Limit{Now: top, Min: float64(r.Min), Max: top, Step: r.Factor()}})
			}
		}
	}
	return out
}

// rateName is what a rate is called in reasons.
func (l *Limits) rateName(part int) string {
	r := l.IO[part]
	return spec.RateNames[r.rate] + " of " + l.spec.IO[r.device].Device
}

// tellRate adds to an event which rate of which disk it is about, and says how to name and to write it.
func (l *Limits) tellRate(part int, fields map[string]any) (what string, in func(detect.ResourceName, float64) string) {
	r := l.IO[part]
	fields["device"], fields["rate"] = l.spec.IO[r.device].Device, spec.RateNames[r.rate]
	return "io " + l.rateName(part), func(_ detect.ResourceName, v float64) string {
		if r.rate < 2 {
			return fmt.Sprintf("%.2f MiB/s", v/(1<<20))
		}
		return fmt.Sprintf("%.0f/s", v)
	}
}

// line is what io.max gets of a disk when one of its rates goes to a value: all four of them, so that it does not matter what
// was there.
func (l *Limits) line(part int, to float64) cgroup.IOLimit {
	device := l.IO[part].device
	values := most(l.spec.IO[device])
	for i, r := range l.IO {
		switch {
		case i == part:
			values[r.rate] = uint64(math.Ceil(to))
		case r.device == device:
			values[r.rate] = uint64(math.Ceil(r.limit.Now))
		}
	}
	return ioLimit(l.spec.IO[device].Device, values)
}

// most are the rates of a spec at their highest.
func most(d spec.IOLimit) (out cgroup.Rates) {
	for i, r := range d.Rates() {
		out[i] = r.Max
	}
	return out
}

func ioLimit(device string, r cgroup.Rates) cgroup.IOLimit {
	return cgroup.IOLimit{Device: device, ReadBytes: r[0], WriteBytes: r[1], Reads: r[2], Writes: r[3]}
}

// readRates takes over what io.max has.
func (l *Limits) readRates(have map[cgroup.Disk]cgroup.Rates) {
	for i := range l.IO {
		r := &l.IO[i]
		if now := have[r.disk][r.rate]; now > 0 {
			r.limit.Now = min(max(float64(now), r.limit.Min), r.limit.Max)
		}
	}
}

// ioUse is what a replica does with each of the rates that are scaled. The kernel lets more through at once
// than the limit and then nothing for a while, so a short time says nothing.
func ioUse(now, base Sample, l *Limits) []detect.Resource {
	out := make([]detect.Resource, len(l.IO))
	seconds := now.Over(base)
	if seconds < rateWindow.Seconds() || !now.Usage.IO.Known {
		return out
	}
	stall := share(now.Usage.IOPressure.Some, base.Usage.IOPressure.Some, seconds)
	for i, r := range l.IO {
		done, before := now.Usage.IO.Of(r.disk), base.Usage.IO.Of(r.disk)
		out[i] = detect.Resource{Used: Rate(done[r.rate], before[r.rate], seconds), Stall: stall}
	}
	return out
}

// DiskRates are the rates of a disk that hold now, and the ranges of those that are
// scaled; 0: not limited, or not scaled.
type DiskRates struct {
	Device        string
	Now, Min, Max cgroup.Rates
}

// Disks are the limits of each disk; now is nil where nothing is scaled.
func Disks(disks []spec.IOLimit, now *Limits) []DiskRates {
	out := make([]DiskRates, 0, len(disks))
	for i, d := range disks {
		var least, top cgroup.Rates
		holds := most(d)
		for k, r := range d.Rates() {
			if r.Scaled() {
				least[k], top[k] = r.Min, r.Max
			}
		}
		if now != nil {
			for _, r := range now.IO {
				if r.device == i {
					holds[r.rate] = uint64(math.Ceil(r.limit.Now))
				}
			}
		}
		out = append(out, DiskRates{Device: d.Device, Now: holds, Min: least, Max: top})
	}
	return out
}
