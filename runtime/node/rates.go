package node

import (
	"fmt"
	"math"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

// ioRate is one rate of one disk that is scaled. Each is a limit of its own: who reads much need not be
// given writes.
type ioRate struct {
	ioKey
	device int // in limits.io of the spec
	limit  detect.Limit
}

// ioKey is what sites have in common: a rate of a disk, whatever path their specs name it by.
type ioKey struct {
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
				out = append(out, ioRate{ioKey{disk, k}, i, detect.Limit{Now: top, Min: float64(r.Min), Max: top, Step: r.Factor()}})
			}
		}
	}
	return out
}

// rateName is what a rate is called in reasons.
func (l *siteLimits) rateName(part int) string {
	r := l.io[part]
	return spec.RateNames[r.rate] + " of " + l.spec.IO[r.device].Device
}

// tellRate adds to an event which rate of which disk it is about, and says how to name and to write it.
func (l *siteLimits) tellRate(part int, fields map[string]any) (what string, in func(detect.ResourceName, float64) string) {
	r := l.io[part]
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
func (l *siteLimits) line(part int, to float64) cgroup.IOLimit {
	device := l.io[part].device
	values := most(l.spec.IO[device])
	for i, r := range l.io {
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
func (l *siteLimits) readRates(have map[cgroup.Disk]cgroup.Rates) {
	for i := range l.io {
		r := &l.io[i]
		if now := have[r.disk][r.rate]; now > 0 {
			r.limit.Now = min(max(float64(now), r.limit.Min), r.limit.Max)
		}
	}
}

// ioUse is what a replica does with each of the rates that are scaled. The kernel lets more through at once
// than the limit and then nothing for a while, so a short time says nothing.
func ioUse(now, base sample, l *siteLimits) []detect.Resource {
	out := make([]detect.Resource, len(l.io))
	seconds := now.over(base)
	if seconds < rateWindow.Seconds() || !now.usage.IO.Known {
		return out
	}
	stall := share(now.usage.IOPressure.Some, base.usage.IOPressure.Some, seconds)
	for i, r := range l.io {
		done, before := now.usage.IO.Of(r.disk), base.usage.IO.Of(r.disk)
		out[i] = detect.Resource{Used: rate(done[r.rate], before[r.rate], seconds), Stall: stall}
	}
	return out
}

// viewRates shows the rates of disks that hold now, and the ranges of those that are scaled.
func viewRates(disks []spec.IOLimit, now *siteLimits) []api.IOLimit {
	out := make([]api.IOLimit, 0, len(disks))
	for i, d := range disks {
		var least, top cgroup.Rates
		holds := most(d)
		for k, r := range d.Rates() {
			if r.Scaled() {
				least[k], top[k] = r.Min, r.Max
			}
		}
		if now != nil {
			for _, r := range now.io {
				if r.device == i {
					holds[r.rate] = uint64(math.Ceil(r.limit.Now))
				}
			}
		}
		out = append(out, api.IOLimit{Device: d.Device, IORates: viewOf(holds), Min: viewOf(least), Max: viewOf(top)})
	}
	return out
}

func viewOf(r cgroup.Rates) api.IORates {
	return api.IORates{ReadBytes: int64(r[0]), WriteBytes: int64(r[1]), Reads: int64(r[2]), Writes: int64(r[3])}
}
