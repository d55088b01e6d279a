package config

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Max is the most that the limits of a site may be. What is zero is not bounded.
type Max struct {
	CPU    spec.CPU        `json:"cpu,omitzero" also:"cpus"`
	Memory spec.Bytes      `json:"memory,omitzero" also:"mem,ram"`
	Pids   int             `json:"pids,omitzero" also:"processes,tasks"`
	IO     []DiskBudget    `json:"io,omitempty" also:"blkio,disks"`
	Disk   spec.DiskLimits `json:"disk,omitzero" also:"storage,quota"`

	// Where says for cpu, memory, pids, io and disk in which file and line they
	// stand; empty: in none.
	Where map[string]string `json:"-"`
}

// At names a field of Max for people, with where it stands.
func (m Max) At(field string) string {
	name, _, _ := strings.Cut(field, ".")
	if where := m.Where[name]; where != "" {
		return "max." + field + ", " + where
	}
	return "max." + field + " of the configuration"
}

// locate finds where the fields stand.
func (m *Max) locate(doc *strictyaml.Document) {
	for _, name := range []string{"cpu", "memory", "pids", "io", "disk"} {
		if doc.Has("max." + name) {
			if m.Where == nil {
				m.Where = map[string]string{}
			}
			at := doc.Position("max." + name)
			m.Where[name] = fmt.Sprintf("%s:%d", doc.File, at.Line)
		}
	}
}

// limit gives one as a limit in a spec.
func (d DiskBudget) limit() spec.IOLimit {
	return spec.IOLimit{
		Device: d.Device, ReadBytes: spec.ByteRate{Max: d.ReadBytes}, WriteBytes: spec.ByteRate{Max: d.WriteBytes},
		Reads: spec.OpsRate{Max: spec.Ops(d.Reads)}, Writes: spec.OpsRate{Max: spec.Ops(d.Writes)},
	}
}

// SameDisk says whether two paths of limits.io mean the same disk.
type SameDisk func(a, b string) bool

// Bounds says whether the node has defaults or maxima for limits.
func (c *Config) Bounds() bool {
	d, m := c.Defaults, c.Max
	return d.CPU != (spec.CPULimits{}) || d.Memory != (spec.MemoryLimits{}) || d.Pids != (spec.PidsLimits{}) || len(d.IO) > 0 || d.Disk != (spec.DiskLimits{}) ||
		m.CPU > 0 || m.Memory > 0 || m.Pids > 0 || len(m.IO) > 0 || m.Disk != (spec.DiskLimits{})
}

// Effective are the limits of a site on this node: those of its spec, the node's
// defaults where that has none, and nothing above the node's maxima, of which
// what is not limited at all gets the most. For pids a spec that says nothing is one
// that says [spec.DefaultPids].
func (c *Config) Effective(l spec.Limits, same SameDisk) spec.Limits {
	d, m := c.Defaults, c.Max
	if l.CPU == (spec.CPULimits{}) {
		l.CPU = d.CPU
	} else if l.CPU.Max == 0 && d.CPU.Max >= l.CPU.Min {
		l.CPU.Max = d.CPU.Max
	}
	if l.Memory == (spec.MemoryLimits{}) {
		l.Memory = d.Memory
	} else if l.Memory.Max == 0 && d.Memory.Max >= max(l.Memory.Min, l.Memory.High) {
		l.Memory.Max = d.Memory.Max
	}
	if l.Pids == (spec.PidsLimits{Max: spec.DefaultPids}) && d.Pids != (spec.PidsLimits{}) {
		l.Pids = d.Pids
		l.Pids.Max = cmp.Or(d.Pids.Max, max(spec.DefaultPids, d.Pids.Min))
	}
	if l.Disk.Bytes == 0 {
		l.Disk.Bytes = d.Disk.Bytes
	}
	if l.Disk.Inodes == 0 {
		l.Disk.Inodes = d.Disk.Inodes
	}
	l.IO = append([]spec.IOLimit(nil), l.IO...)
	for _, disk := range d.IO {
		if find(l.IO, disk.Device, same) < 0 {
			l.IO = append(l.IO, disk)
		}
	}

	if clamp(&l.CPU.Min, &l.CPU.Max, m.CPU); !l.CPU.Scaled() {
		l.CPU.Step = 0
	}
	clamp(&l.Memory.Min, &l.Memory.Max, m.Memory)
	if m.Memory > 0 {
		l.Memory.High = min(l.Memory.High, m.Memory)
	}
	if !l.Memory.Scaled() {
		l.Memory.Step, l.Memory.Follow = 0, false
	}
	clampRange(&l.Pids, m.Pids)
	clamp(new(spec.Bytes), &l.Disk.Bytes, m.Disk.Bytes)
	clamp(new(spec.Count), &l.Disk.Inodes, m.Disk.Inodes)
	for _, most := range m.IO {
		i := find(l.IO, most.Device, same)
		if i < 0 {
			l.IO = append(l.IO, most.limit())
			continue
		}
		clampRange(&l.IO[i].ReadBytes, most.ReadBytes)
		clampRange(&l.IO[i].WriteBytes, most.WriteBytes)
		clampRange(&l.IO[i].Reads, spec.Ops(most.Reads))
		clampRange(&l.IO[i].Writes, spec.Ops(most.Writes))
	}
	if len(l.IO) == 0 {
		l.IO = nil
	}
	return l
}

// clamp brings a limit down to a maximum, where there is one.
func clamp[N spec.CPU | spec.Bytes | spec.Count | spec.Ops | int](least, most *N, to N) {
	if to > 0 && (*most == 0 || *most > to) {
		*most = to
	}
	if *most > 0 {
		*least = min(*least, *most)
	}
}

func clampRange[N int | spec.Ops | spec.Bytes](r *spec.Range[N], to N) {
	if clamp(&r.Min, &r.Max, to); !r.Scaled() {
		r.Step = 0
	}
}

func find(limits []spec.IOLimit, device string, same SameDisk) int {
	for i, l := range limits {
		if l.Device == device || same(l.Device, device) {
			return i
		}
	}
	return -1
}

// Excess is a limit of a spec that this node does not give.
type Excess struct {
	Field, Message, Allowed string
}

// Exceeding are the limits of a spec that are above the node's maxima.
func (c *Config) Exceeding(l spec.Limits, same SameDisk) (all []Excess) {
	m := c.Max
	add := func(above bool, field, at string, has, most fmt.Stringer) {
		if above {
			all = append(all, Excess{
				Field: "limits." + field, Allowed: "up to " + most.String(),
				Message: fmt.Sprintf("%s is more than this node allows, %s (%s)", has, most, m.At(at)),
			})
		}
	}
	add(m.CPU > 0 && l.CPU.Max > m.CPU, "cpu.max", "cpu", text(l.CPU.Max), text(m.CPU))
	add(m.CPU > 0 && l.CPU.Min > m.CPU && l.CPU.Max == 0, "cpu.min", "cpu", text(l.CPU.Min), text(m.CPU))
	add(m.Memory > 0 && l.Memory.Max > m.Memory, "memory.max", "memory", l.Memory.Max, m.Memory)
	add(m.Memory > 0 && l.Memory.Max == 0 && l.Memory.High > m.Memory, "memory.high", "memory", l.Memory.High, m.Memory)
	add(m.Memory > 0 && l.Memory.Max == 0 && l.Memory.High == 0 && l.Memory.Min > m.Memory, "memory.min", "memory", l.Memory.Min, m.Memory)
	add(m.Pids > 0 && l.Pids.Max > m.Pids && l.Pids.Max != spec.DefaultPids, "pids.max", "pids", text(l.Pids.Max), text(m.Pids))
	add(m.Disk.Bytes > 0 && l.Disk.Bytes > m.Disk.Bytes, "disk.bytes", "disk.bytes", l.Disk.Bytes, m.Disk.Bytes)
	add(m.Disk.Inodes > 0 && l.Disk.Inodes > m.Disk.Inodes, "disk.inodes", "disk.inodes", l.Disk.Inodes, m.Disk.Inodes)
	for _, most := range m.IO {
		i := find(l.IO, most.Device, same)
		if i < 0 {
			continue
		}
		allowed := most.limit().Rates()
		for j, r := range l.IO[i].Rates() {
			most := allowed[j].Max
			add(most > 0 && r.Max > most, fmt.Sprintf("io[%d].%s.max", i, r.Name), "io", text(r.Max), text(most))
		}
	}
	return all
}

// text is a number for people.
func text[N any](n N) fmt.Stringer { return number{n} }

type number struct{ n any }

func (n number) String() string { return fmt.Sprint(n.n) }

// bounds checks defaults and max, each by itself and against the other.
func (c checker) bounds(cfg *Config) {
	d := cfg.Defaults
	if d.Pids.Max == 0 {
		d.Pids.Max = max(spec.DefaultPids, d.Pids.Min)
	}
	d.Check(func(path string, err error) { c.report("defaults"+strings.TrimPrefix(path, "limits"), err) })
	m := cfg.Max
	most := spec.Limits{
		CPU: spec.CPULimits{Max: m.CPU}, Memory: spec.MemoryLimits{Max: m.Memory}, Pids: spec.PidsLimits{Max: m.Pids}, Disk: m.Disk,
	}
	if m.Pids == 0 {
		most.Pids.Max = spec.DefaultPids
	}
	for _, d := range m.IO {
		most.IO = append(most.IO, d.limit())
	}
	most.Check(func(path string, err error) {
		path = "max" + strings.TrimPrefix(path, "limits")
		if !strings.HasPrefix(path, "max.disk") {
			path = strings.TrimSuffix(path, ".max")
		}
		c.report(path, err)
	})
	for _, e := range cfg.Exceeding(cfg.Defaults, func(string, string) bool { return false }) {
		c.bad("defaults"+strings.TrimPrefix(e.Field, "limits"), e.Allowed, "%s", e.Message)
	}
	if b := m.Disk.Bytes; b != 0 && b < cfg.LeastDisk() {
		c.bad("max.disk.bytes", "sizes from "+cfg.LeastDisk().String(), "%s is too small beside the log of a site (log.maxSize times log.files)", b)
	}
	if b := d.Disk.Bytes; b != 0 && b < cfg.LeastDisk() {
		c.bad("defaults.disk.bytes", "sizes from "+cfg.LeastDisk().String(), "%s is too small beside the log of a site (log.maxSize times log.files)", b)
	}
}

// LeastDisk is the smallest limits.disk that means something beside the log of a
// site, which counts.
func (c *Config) LeastDisk() spec.Bytes { return 2 * c.Log.MaxSize * spec.Bytes(c.Log.Files) }
