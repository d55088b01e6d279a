package status

import (
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/scale"
	"github.com/fcnode/fcnode/runtime/spec"
)

// fillLimits shows the limits that hold now, with the range that the spec has.
func (s *Status) fillLimits(v *api.Site, of *spec.Site, now *scale.Limits) {
	l := of.Limits
	if d := l.Disk; d != (spec.DiskLimits{}) {
		v.Limits.Disk = &api.DiskLimit{Bytes: int64(d.Bytes), Inodes: int64(d.Inodes), By: api.DiskByWatch}
		if s.host.Disks.ByQuota(of) {
			v.Limits.Disk.By = api.DiskByQuota
		}
	}
	if s.host.Has("cpu") && (l.CPU.Max > 0 || l.CPU.Min > 0) {
		v.Limits.CPU = &api.CPULimit{Now: float64(l.CPU.Max), Min: float64(l.CPU.Min), Max: float64(l.CPU.Max)}
		if now != nil && now.CPU.Max > 0 {
			v.Limits.CPU.Now = now.CPU.Now
		}
	}
	if s.host.Has("memory") && (l.Memory.Max > 0 || l.Memory.Min > 0 || l.Memory.High > 0) {
		v.Limits.Memory = &api.MemoryLimit{Now: int64(l.Memory.Max), Min: int64(l.Memory.Min), Max: int64(l.Memory.Max)}
		if now != nil && now.Memory.Max > 0 {
			v.Limits.Memory.Now = int64(now.Memory.Now)
		}
	}
	if s.host.Has("pids") && l.Pids.Max > 0 {
		v.Limits.PIDs = &api.PIDsLimit{Now: int64(l.Pids.Max), Min: int64(l.Pids.Min), Max: int64(l.Pids.Max)}
		if now != nil && now.Pids.Max > 0 {
			v.Limits.PIDs.Now = int64(now.Pids.Now)
		}
	}
	if s.host.Has("io") {
		for _, d := range scale.Disks(l.IO, now) {
			v.Limits.IO = append(v.Limits.IO, api.IOLimit{Device: d.Device, IORates: rates(d.Now), Min: rates(d.Min), Max: rates(d.Max)})
		}
	}
}

func rates(r cgroup.Rates) api.IORates {
	return api.IORates{ReadBytes: int64(r[0]), WriteBytes: int64(r[1]), Reads: int64(r[2]), Writes: int64(r[3])}
}
