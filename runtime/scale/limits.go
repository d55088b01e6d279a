package scale

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Limits are the limits of each replica of a site that can be scaled in place,
// or that say how much a replica can take. Those that the spec does not have, or the
// machine cannot set, are zero.
type Limits struct {
	CPU    detect.Limit // cores
	Memory detect.Limit // memory.high, in bytes
	Pids   detect.Limit
	IO     []ioRate // those that are scaled

	spec spec.Limits
}

// NewLimits begins where a start ends: with all that may be given.
func NewLimits(l spec.Limits, has func(controller string) bool) Limits {
	out := Limits{spec: l}
	if has("cpu") && l.CPU.Max > 0 {
		out.CPU = detect.Limit{Now: float64(l.CPU.Max), Min: float64(l.CPU.Max), Max: float64(l.CPU.Max), Step: l.CPU.Factor()}
		if l.CPU.Scaled() {
			out.CPU.Min = float64(l.CPU.Min)
		}
	}
	if has("memory") && l.Memory.Scaled() {
		top := float64(l.Memory.Ceiling())
		out.Memory = detect.Limit{Now: top, Min: float64(l.Memory.Min), Max: top, Step: l.Memory.Factor()}
	}
	if has("pids") && l.Pids.Scaled() {
		out.Pids = detect.Limit{Now: float64(l.Pids.Max), Min: float64(l.Pids.Min), Max: float64(l.Pids.Max), Step: l.Pids.Factor()}
	}
	if has("io") {
		out.IO = newRates(l.IO, cgroup.FindDisk)
	}
	return out
}

// of gives the limit of a resource; part is for the rates of disks.
func (l *Limits) of(name detect.ResourceName, part int) *detect.Limit {
	switch name {
	case detect.CPU:
		return &l.CPU
	case detect.Memory:
		return &l.Memory
	case detect.Pids:
		return &l.Pids
	case detect.IO:
		return &l.IO[part].limit
	}
	return nil
}

// clone is for whoever writes them in the background.
func (l *Limits) clone() Limits {
	out := *l
	out.IO = slices.Clone(l.IO)
	return out
}

// all are the limits that there are.
func (l *Limits) all() []detect.Limit {
	out := []detect.Limit{l.CPU, l.Memory, l.Pids}
	for _, r := range l.IO {
		out = append(out, r.limit)
	}
	return out
}

// Lacking says of each limit that the spec wants scaled and this machine cannot
// set why it cannot.
func Lacking(l spec.Limits, host cgroup.Host, has func(controller string) bool) []string {
	var out []string
	for _, limit := range []struct {
		name, controller string
		scaled           bool
	}{{"cpu", "cpu", l.CPU.Scaled()}, {"memory", "memory", l.Memory.Scaled()}, {"pids", "pids", l.Pids.Scaled()}, {"io", "io", l.IOScaled()}} {
		if !limit.scaled || has(limit.controller) {
			continue
		}
		why := "this machine has no such controller in cgroup v2"
		for _, lack := range host.Lacks {
			if lack.Controller == limit.controller {
				why = lack.Why + "; " + lack.Remedy
			}
		}
		out = append(out, fmt.Sprintf("limits.%s: %s", limit.name, why))
	}
	return out
}

// startLimits are what a replica starts with: the most that the spec allows, so that
// no visitor waits for a throttled start. What was not needed is taken back when
// the replica has been up for a while.
func startLimits(l spec.Limits) cgroup.Limits {
	out := cgroup.Limits{
		CPU: float64(l.CPU.Max), CPUWeight: l.CPU.Weight(),
		MemoryLow: uint64(l.Memory.Min), MemoryHigh: uint64(l.Memory.High), MemoryMax: uint64(l.Memory.Max),
		Pids: int64(l.Pids.Max),
	}
	if l.Memory.Scaled() {
		out.MemoryHigh = uint64(l.Memory.Ceiling())
	}
	out.MemorySwap, _ = SwapAwake(l.Memory)
	for _, d := range l.IO {
		out.IO = append(out.IO, ioLimit(d.Device, most(d)))
	}
	return out
}

// StartLimits are those, within what the node's budget has for the site.
func (g *Engine) StartLimits(id bpf.SiteID, s *spec.Site) cgroup.Limits {
	out := startLimits(s.Limits)
	had := g.budget.burst(id, s)
	if cpu := had.CPU.Budget; cpu > 0 && s.Limits.CPU.Scaled() {
		out.CPU = min(out.CPU, max(cpu, float64(s.Limits.CPU.Min)))
	}
	if memory := had.Memory.Budget; memory > 0 && s.Limits.Memory.Scaled() {
		out.MemoryHigh = min(out.MemoryHigh, max(uint64(memory), uint64(s.Limits.Memory.Min)))
		out.MemoryMax = uint64(s.Limits.Memory.Hard(spec.Bytes(out.MemoryHigh)))
	}
	for part := range had.IO {
		r := &had.IO[part]
		_, r.limit.Now = r.limit.Bounds()
		out.IO[r.device] = had.line(part, r.limit.Now)
	}
	return out
}

// limitChange is the one write that a limit takes.
func limitChange(l *Limits, name detect.ResourceName, part int, to float64) cgroup.Change {
	switch name {
	case detect.CPU:
		return cgroup.Change{CPU: &to}
	case detect.Memory:
		bytes := uint64(to)
		return cgroup.Change{MemoryHigh: &bytes}
	case detect.Pids:
		pids := int64(math.Ceil(to))
		return cgroup.Change{Pids: &pids}
	case detect.IO:
		return cgroup.Change{IO: []cgroup.IOLimit{l.line(part, to)}}
	}
	return cgroup.Change{}
}

// limited is a replica's cgroup, as far as its limits go.
type limited interface {
	Apply(change cgroup.Change) error
}

// setLimit writes a limit of some replicas, and gives what is in force: memory that
// is in use cannot be taken away.
func setLimit[G limited](groups []G, l *Limits, name detect.ResourceName, part int, to float64) (float64, error) {
	var errs []error
	inForce := to
	for _, g := range groups {
		if name == detect.Memory && l.spec.Memory.Follow {
			now, err := setFollowed(g, l, to)
			inForce = max(inForce, now)
			errs = append(errs, err)
			continue
		}
		now, err := applied(to, g.Apply(limitChange(l, name, part, to)))
		inForce = max(inForce, now)
		errs = append(errs, err)
	}
	return inForce, errors.Join(errs...)
}

// applied gives the limit in force after a write that was asked for so much.
func applied(to float64, err error) (float64, error) {
	var used *cgroup.InUseError
	if errors.As(err, &used) {
		return float64(used.Set), nil
	}
	return to, err
}

// setFollowed moves memory.high, and memory.max at a distance above it: first up where it goes up, last
// down where it goes down, so that whoever dies in between leaves a memory.max that is too high and not one
// that kills. What is in force of memory.high decides where memory.max goes.
func setFollowed(g limited, l *Limits, to float64) (float64, error) {
	high := func() (float64, error) { return applied(to, g.Apply(limitChange(l, detect.Memory, 0, to))) }
	hard := func(high float64) error {
		bytes := uint64(l.spec.Memory.Hard(spec.Bytes(high)))
		_, err := applied(0, g.Apply(cgroup.Change{MemoryMax: &bytes}))
		return err
	}
	if to >= l.Memory.Now {
		if err := hard(to); err != nil {
			return l.Memory.Now, err
		}
		return high()
	}
	now, err := high()
	if err != nil {
		return l.Memory.Now, err
	}
	return now, hard(now)
}

// readLimits finds out, in the folder of its cgroup, which limits a replica has that an
// earlier daemon left.
func readLimits(dir string, l Limits) Limits {
	number := func(file string) (float64, bool) {
		text, err := os.ReadFile(filepath.Join(dir, file))
		fields := strings.Fields(string(text))
		if err != nil || len(fields) == 0 {
			return 0, false
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err == nil && len(fields) == 2 { // cpu.max: quota and period
			period, bad := strconv.ParseFloat(fields[1], 64)
			v, err = v/period, bad
		}
		return v, err == nil
	}
	for file, limit := range map[string]*detect.Limit{"cpu.max": &l.CPU, "memory.high": &l.Memory, "pids.max": &l.Pids} {
		if v, ok := number(file); ok && limit.Max > 0 {
			limit.Now = min(max(v, limit.Min), limit.Max)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "io.max")); err == nil {
		l.readRates(cgroup.ParseIOMax(string(text)))
	}
	return l
}

// groupsOf are the cgroups of replicas.
func groupsOf(l Site, ids []site.ReplicaID) []Group {
	var out []Group
	for _, r := range l.Set().Replicas {
		if r.Group != nil && slices.Contains(ids, r.ID) {
			out = append(out, r.Group)
		}
	}
	return out
}

// raise makes a limit larger: at once, and under the site's lock, as somebody is
// slow for want of it.
func (g *Engine) raise(l Site, d detect.Decision) error {
	s := l.Scaling()
	begin := time.Now()
	_, err := setLimit(groupsOf(l, unburst(l)), &s.Limits, d.Resource, d.Part, d.To)
	if err != nil {
		return err
	}
	s.Limits.of(d.Resource, d.Part).Now = d.To
	smooth(&s.scaler.Costs.Limit, time.Since(begin))
	return nil
}

// GiveBurst gives a replica that has gone to sleep the limits of a start, within which it is to wake: asleep it uses
// nothing, and when a visitor comes there is nothing to be written. What it did not need will be taken back.
func (g *Engine) GiveBurst(l Site, id site.ReplicaID) {
	s := l.Scaling()
	if s == nil || !s.spec.Limits.Scaled() {
		return
	}
	r, _ := find(l, id)
	if r.Group == nil {
		return
	}
	full := NewLimits(s.spec.Limits, g.Has)
	if err := r.Group.Apply(full.everything()); err != nil && !errors.Is(err, cgroup.ErrNoController) {
		g.Log.Error("a sleeping replica keeps the limits that it had", "replica", r.Name, "error", err)
		return
	}
	if len(serving(l)) == 0 {
		s.Limits = full
		s.scaler.Burst()
	}
}

// everything is the change that gives all limits their values now.
func (l *Limits) everything() cgroup.Change {
	var out cgroup.Change
	if l.CPU.Max > 0 {
		out.CPU = &l.CPU.Now
	}
	if l.Pids.Max > 0 {
		out.Pids = limitChange(l, detect.Pids, 0, l.Pids.Now).Pids
	}
	if l.Memory.Max > 0 {
		out.MemoryHigh = limitChange(l, detect.Memory, 0, l.Memory.Now).MemoryHigh
		if l.spec.Memory.Follow {
			hard := uint64(l.spec.Memory.Hard(spec.Bytes(l.Memory.Now)))
			out.MemoryMax = &hard
		}
	}
	for part, r := range l.IO {
		if part == 0 || l.IO[part-1].device != r.device { // one line has all rates of a disk
			out.IO = append(out.IO, l.line(part, r.limit.Now))
		}
	}
	return out
}

// lower makes one smaller: at once, but memory in the background, as it may have to be
// reclaimed first.
func (g *Engine) lower(l Site, d detect.Decision) {
	s, ref := l.Scaling(), l.Ref
	groups := groupsOf(l, serving(l))
	if d.Resource != detect.Memory {
		inForce, err := setLimit(groups, &s.Limits, d.Resource, d.Part, d.To)
		g.lowered(l, d, inForce, err)
		return
	}
	s.lowering = true
	now := s.Limits.clone()
	g.Go(func() {
		inForce, err := setLimit(groups, &now, d.Resource, d.Part, d.To)
		ref.WithScaled(func(l Site) {
			if l.Scaling() != s {
				return
			}
			s.lowering = false
			g.lowered(l, d, inForce, err)
			g.queue.add(ref, Cause{}) // it may need more by now
		})
	})
}

// lowered notes what came of it.
func (g *Engine) lowered(l Site, d detect.Decision, inForce float64, err error) {
	s := l.Scaling()
	if err != nil {
		g.Log.Error("cannot lower a limit", "site", l.Ref.Name(), "resource", d.Resource, "error", err)
		return
	}
	s.Limits.of(d.Resource, d.Part).Now = inForce
	if d.To = inForce; inForce < d.From {
		g.scaled(l, d, 0, Cause{}, 0)
	}
	g.budget.claim(l.Ref.ID(), s.Limits, len(serving(l)), l.Spec, false)
}
