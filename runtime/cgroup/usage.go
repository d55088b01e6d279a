package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a group uses, and what it has run into. Each part says whether
// the kernel accounts for it here.
type Usage struct {
	CPU    CPUUsage    `json:"cpu"`
	Memory MemoryUsage `json:"memory"`
	Pids   PidsUsage   `json:"pids"`
	IO     IOUsage     `json:"io"`

	CPUPressure    Stall `json:"cpu_pressure"`
	MemoryPressure Stall `json:"memory_pressure"`
	IOPressure     Stall `json:"io_pressure"`
}

// CPUUsage is cpu.stat. The time is known everywhere, the rest needs the cpu
// controller.
type CPUUsage struct {
	Known bool          `json:"known"`
	Time  time.Duration `json:"time"`

	ThrottlingKnown bool          `json:"throttling_known"`
	Periods         uint64        `json:"periods"`        // with a limit and something to run
	Throttled       uint64        `json:"throttled"`      // of them
	ThrottledTime   time.Duration `json:"throttled_time"` // of all processors
}

// MemoryUsage is memory.current, memory.events and of memory.stat what could
// go, in bytes and counts.
type MemoryUsage struct {
	Known   bool   `json:"known"`
	Current uint64 `json:"current"`
	Swap    uint64 `json:"swap"` // 0 where swap is not accounted
	Idle    uint64 `json:"idle"` // of Current: file pages not used lately, which the kernel takes back at once
	MemoryEvents
}

// Held is what is in use of it: without what the kernel takes back at once.
func (m MemoryUsage) Held() uint64 { return m.Current - min(m.Idle, m.Current) }

// MemoryEvents are the counts of memory.events.
type MemoryEvents struct {
	Low     uint64 `json:"low"`      // reclaimed in spite of memory.low
	High    uint64 `json:"high"`     // throttled at memory.high
	Max     uint64 `json:"max"`      // met memory.max
	OOM     uint64 `json:"oom"`      // and found nothing to reclaim
	OOMKill uint64 `json:"oom_kill"` // and a process was killed
}

// PidsUsage is pids.current and pids.events.
type PidsUsage struct {
	Known   bool   `json:"known"`
	Current uint64 `json:"current"`
	Refused uint64 `json:"refused"` // forks
}

// IOUsage is io.stat, all disks together.
type IOUsage struct {
	Known      bool   `json:"known"`
	ReadBytes  uint64 `json:"read_bytes"`
	WriteBytes uint64 `json:"write_bytes"`
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`

	Disks []DiskUsage `json:"disks,omitempty"`
}

// DiskUsage is a line of io.stat.
type DiskUsage struct {
	Disk Disk  `json:"disk"`
	Done Rates `json:"done"`
}

// Of is what was read from and written to one disk.
func (u IOUsage) Of(d Disk) Rates {
	for _, one := range u.Disks {
		if one.Disk == d {
			return one.Done
		}
	}
	return Rates{}
}

// Stall is how long some, or all, processes of a group have waited for a
// resource.
type Stall struct {
	Known bool          `json:"known"`
	Some  time.Duration `json:"some"` // total
	Full  time.Duration `json:"full"` // total
}

// Usage reads all of it. What the kernel does not account for here is not known
// and no error.
func (g *Group) Usage() (Usage, error) {
	dir, err := unix.Open(g.Path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, fmt.Errorf("open cgroup %s: %w", g.Path(), err)
	}
	defer unix.Close(dir) // a path descriptor
	r := reader{dir: dir, path: g.Path(), buf: make([]byte, 16<<10)}
	u := Usage{CPU: r.cpu(g.parent), CPUPressure: r.stall("cpu"), MemoryPressure: r.stall("memory"), IOPressure: r.stall("io")}
	if g.parent.Has("memory") {
		u.Memory = r.memory()
	}
	if g.parent.Has("pids") {
		u.Pids = r.pids()
	}
	if g.parent.Has("io") {
		u.IO = r.io()
	}
	return u, r.err
}

// Memory is what all groups below the parent use together; ErrNoController where the
// kernel does not account for it.
func (p *Parent) Memory() (MemoryUsage, error) {
	if err := p.need("memory"); err != nil {
		return MemoryUsage{}, err
	}
	dir, err := unix.Open(p.Path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return MemoryUsage{}, fmt.Errorf("open cgroup %s: %w", p.Path(), err)
	}
	defer unix.Close(dir) // a path descriptor
	r := reader{dir: dir, path: p.Path(), buf: make([]byte, 16<<10)}
	return r.memory(), r.err
}

// MemoryCurrent is the memory that the kernel accounts to the group, in bytes;
// ErrNoController where it does not.
func (g *Group) MemoryCurrent() (uint64, error) {
	if err := g.parent.need("memory"); err != nil {
		return 0, err
	}
	return g.value("memory.current")
}

// MemoryMax is what all groups below the parent may hold together in memory and in swap (memory.max, memory.swap.max), in
// bytes; math.MaxUint64: there is no such limit.
func (p *Parent) MemoryMax() (memory, swap uint64, err error) {
	if err := p.need("memory"); err != nil {
		return 0, 0, err
	}
	if memory, err = value(p.Path(), "memory.max"); err != nil {
		return 0, 0, err
	}
	if swap, err = value(p.Path(), "memory.swap.max"); errors.Is(err, fs.ErrNotExist) { // swap is not accounted
		return memory, math.MaxUint64, nil
	}
	return memory, swap, err
}

func (g *Group) value(name string) (uint64, error) { return value(g.Path(), name) }

// value reads a file of a cgroup that holds a number or "max".
func value(path, name string) (uint64, error) {
	text, err := readFile(unix.AT_FDCWD, filepath.Join(path, name), make([]byte, 64))
	if err != nil {
		return 0, err
	}
	if strings.TrimSpace(text) == unlimited {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s of cgroup %s: %w", name, path, err)
	}
	return n, nil
}

// readFile reads a small file without the detours of package os: there are
// eight for each of many groups.
func readFile(dir int, name string, buf []byte) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd) // read only
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return string(buf[:n]), nil
}

// reader reads the files of one group. Its err is the first.
type reader struct {
	dir  int
	path string
	buf  []byte
	err  error
}

// text gives "" and false for a file that is not there, as the kernel may be
// built without what it tells.
func (r *reader) text(name string) (string, bool) {
	text, err := readFile(r.dir, name, r.buf)
	switch {
	case err == nil:
		return text, true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EOPNOTSUPP): // pressure is switched off
	case r.err == nil:
		r.err = fmt.Errorf("cgroup %s: %w", r.path, err)
	}
	return "", false
}

func (r *reader) cpu(p *Parent) CPUUsage {
	text, known := r.text("cpu.stat")
	m := flat(text)
	return CPUUsage{
		Known: known, Time: micros(m["usage_usec"]),
		ThrottlingKnown: known && p.Has("cpu"), Periods: m["nr_periods"], Throttled: m["nr_throttled"], ThrottledTime: micros(m["throttled_usec"]),
	}
}

func (r *reader) memory() MemoryUsage {
	current, known := r.text("memory.current")
	swap, _ := r.text("memory.swap.current")
	events, _ := r.text("memory.events")
	stat, _ := r.text("memory.stat")
	return MemoryUsage{
		Known: known, Current: single(current), Swap: single(swap), Idle: min(flat(stat)["inactive_file"], single(current)),
		MemoryEvents: parseMemoryEvents(events),
	}
}

func parseMemoryEvents(text string) MemoryEvents {
	m := flat(text)
	return MemoryEvents{Low: m["low"], High: m["high"], Max: m["max"], OOM: m["oom"], OOMKill: m["oom_kill"]}
}

func (r *reader) pids() PidsUsage {
	current, known := r.text("pids.current")
	events, _ := r.text("pids.events")
	return PidsUsage{Known: known, Current: single(current), Refused: flat(events)["max"]}
}

func (r *reader) io() IOUsage {
	text, known := r.text("io.stat")
	u := IOUsage{Known: known}
	for line := range strings.Lines(text) {
		disk, done, ok := parseRates(line, [4]string{"rbytes", "wbytes", "rios", "wios"})
		if !ok {
			continue
		}
		u.Disks = append(u.Disks, DiskUsage{Disk: disk, Done: done})
		u.ReadBytes += done[0]
		u.WriteBytes += done[1]
		u.Reads += done[2]
		u.Writes += done[3]
	}
	return u
}

func (r *reader) stall(resource string) Stall {
	text, known := r.text(resource + ".pressure")
	s := Stall{Known: known}
	for line := range strings.Lines(text) {
		kind, _, _ := strings.Cut(line, " ")
		_, total, _ := strings.Cut(line, "total=")
		switch kind {
		case "some":
			s.Some = micros(single(total))
		case "full":
			s.Full = micros(single(total))
		}
	}
	return s
}

// flat reads lines of a name and a number.
func flat(text string) map[string]uint64 {
	m := make(map[string]uint64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, " ")
		m[name] = single(value)
	}
	return m
}

// single reads the kernel's number; what is none is 0.
func single(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return n
}

func micros(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }
