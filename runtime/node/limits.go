package node

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

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
	"github.com/fcnode/fcnode/runtime/spec"
)

// siteLimits are the limits of each replica of a site that can be scaled in place,
// or that say how much a replica can take. Those that the spec does not have, or the
// machine cannot set, are zero.
type siteLimits struct {
	cpu    detect.Limit // cores
	memory detect.Limit // memory.high, in bytes
	pids   detect.Limit
	io     []ioRate // those that are scaled

	spec spec.Limits
}

// newLimits begins where a start ends: with all that may be given.
func newLimits(l spec.Limits, has func(controller string) bool) siteLimits {
	out := siteLimits{spec: l}
	if has("cpu") && l.CPU.Max > 0 {
		out.cpu = detect.Limit{Now: float64(l.CPU.Max), Min: float64(l.CPU.Max), Max: float64(l.CPU.Max), Step: l.CPU.Factor()}
		if l.CPU.Scaled() {
			out.cpu.Min = float64(l.CPU.Min)
		}
	}
	if has("memory") && l.Memory.Scaled() {
		top := float64(l.Memory.Ceiling())
		out.memory = detect.Limit{Now: top, Min: float64(l.Memory.Min), Max: top, Step: l.Memory.Factor()}
	}
	if has("pids") && l.Pids.Scaled() {
		out.pids = detect.Limit{Now: float64(l.Pids.Max), Min: float64(l.Pids.Min), Max: float64(l.Pids.Max), Step: l.Pids.Factor()}
	}
	if has("io") {
		out.io = newRates(l.IO, cgroup.FindDisk)
	}
	return out
}

// of gives the limit of a resource; part is for the rates of disks.
func (l *siteLimits) of(name detect.ResourceName, part int) *detect.Limit {
	switch name {
	case detect.CPU:
		return &l.cpu
	case detect.Memory:
		return &l.memory
	case detect.Pids:
		return &l.pids
	case detect.IO:
		return &l.io[part].limit
	}
	return nil
}

// clone is for whoever writes them in the background.
func (l *siteLimits) clone() siteLimits {
	out := *l
	out.io = slices.Clone(l.io)
	return out
}

// all are the limits that there are.
func (l *siteLimits) all() []detect.Limit {
	out := []detect.Limit{l.cpu, l.memory, l.pids}
	for _, r := range l.io {
		out = append(out, r.limit)
	}
	return out
}

// lacking says of each limit that the spec wants scaled and this machine cannot
// set why it cannot.
func lacking(l spec.Limits, host cgroup.Host, has func(controller string) bool) []string {
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

// limits are what a replica starts with: the most that the spec allows, so that
// no visitor waits for a throttled start. What was not needed is taken back when
// the replica has been up for a while.
func limits(l spec.Limits) cgroup.Limits {
	out := cgroup.Limits{
		CPU: float64(l.CPU.Max), CPUWeight: l.CPU.Weight(),
		MemoryLow: uint64(l.Memory.Min), MemoryHigh: uint64(l.Memory.High), MemoryMax: uint64(l.Memory.Max),
		Pids: int64(l.Pids.Max),
	}
	if l.Memory.Scaled() {
		out.MemoryHigh = uint64(l.Memory.Ceiling())
	}
	out.MemorySwap, _ = swapAwake(l.Memory)
	for _, d := range l.IO {
		out.IO = append(out.IO, ioLimit(d.Device, most(d)))
	}
	return out
}

// startLimits are those, within what the node's budget has for the site.
func (n *Node) startLimits(e *entry, s *spec.Site) cgroup.Limits {
	out := limits(s.Limits)
	had := n.budget.burst(e.id, s)
	if cpu := had.cpu.Budget; cpu > 0 && s.Limits.CPU.Scaled() {
		out.CPU = min(out.CPU, max(cpu, float64(s.Limits.CPU.Min)))
	}
	if memory := had.memory.Budget; memory > 0 && s.Limits.Memory.Scaled() {
		out.MemoryHigh = min(out.MemoryHigh, max(uint64(memory), uint64(s.Limits.Memory.Min)))
		out.MemoryMax = uint64(s.Limits.Memory.Hard(spec.Bytes(out.MemoryHigh)))
	}
	for part := range had.io {
		r := &had.io[part]
		_, r.limit.Now = r.limit.Bounds()
		out.IO[r.device] = had.line(part, r.limit.Now)
	}
	return out
}

// limitChange is the one write that a limit takes.
func limitChange(l *siteLimits, name detect.ResourceName, part int, to float64) cgroup.Change {
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
func setLimit[G limited](groups []G, l *siteLimits, name detect.ResourceName, part int, to float64) (float64, error) {
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
func setFollowed(g limited, l *siteLimits, to float64) (float64, error) {
	high := func() (float64, error) { return applied(to, g.Apply(limitChange(l, detect.Memory, 0, to))) }
	hard := func(high float64) error {
		bytes := uint64(l.spec.Memory.Hard(spec.Bytes(high)))
		_, err := applied(0, g.Apply(cgroup.Change{MemoryMax: &bytes}))
		return err
	}
	if to >= l.memory.Now {
		if err := hard(to); err != nil {
			return l.memory.Now, err
		}
		return high()
	}
	now, err := high()
	if err != nil {
		return l.memory.Now, err
	}
	return now, hard(now)
}

// readLimits finds out, in the folder of its cgroup, which limits a replica has that an
// earlier daemon left.
func readLimits(dir string, l siteLimits) siteLimits {
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
	for file, limit := range map[string]*detect.Limit{"cpu.max": &l.cpu, "memory.high": &l.memory, "pids.max": &l.pids} {
		if v, ok := number(file); ok && limit.Max > 0 {
			limit.Now = min(max(v, limit.Min), limit.Max)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "io.max")); err == nil {
		l.readRates(cgroup.ParseIOMax(string(text)))
	}
	return l
}

// groupsOf are the cgroups of replicas. The caller holds e.mu.
func groupsOf(e *entry, ids []site.ReplicaID) []*cgroup.Group {
	var out []*cgroup.Group
	for _, id := range ids {
		if r := e.active.replicas[id]; r != nil && r.ctr != nil {
			out = append(out, r.ctr.Group())
		}
	}
	return out
}

// raise makes a limit larger: at once, and under the site's lock, as somebody is
// slow for want of it. The caller holds e.mu.
func (n *Node) raise(e *entry, d detect.Decision) error {
	s := e.active.scaling
	begin := time.Now()
	_, err := setLimit(groupsOf(e, settled(e)), &s.limits, d.Resource, d.Part, d.To)
	if err != nil {
		return err
	}
	s.limits.of(d.Resource, d.Part).Now = d.To
	smooth(&s.scaler.Costs.Limit, time.Since(begin))
	return nil
}

// giveBurst gives a replica that has gone to sleep the limits of a start, within which it is to wake: asleep it uses
// nothing, and when a visitor comes there is nothing to be written. What it did not need will be taken back. The caller holds e.mu.
func (n *Node) giveBurst(e *entry, r *replica) {
	s := e.active.scaling
	if s == nil || !s.spec.Limits.Scaled() || r.ctr == nil {
		return
	}
	full := newLimits(s.spec.Limits, n.parent.Has)
	if err := r.ctr.Group().Apply(full.everything()); err != nil && !errors.Is(err, cgroup.ErrNoController) {
		n.log.Error("a sleeping replica keeps the limits that it had", "replica", r.name, "error", err)
		return
	}
	if len(serving(e)) == 0 {
		s.limits = full
		s.scaler.Burst()
	}
}

// everything is the change that gives all limits their values now.
func (l *siteLimits) everything() cgroup.Change {
	var out cgroup.Change
	if l.cpu.Max > 0 {
		out.CPU = &l.cpu.Now
	}
	if l.pids.Max > 0 {
		out.Pids = limitChange(l, detect.Pids, 0, l.pids.Now).Pids
	}
	if l.memory.Max > 0 {
		out.MemoryHigh = limitChange(l, detect.Memory, 0, l.memory.Now).MemoryHigh
		if l.spec.Memory.Follow {
			hard := uint64(l.spec.Memory.Hard(spec.Bytes(l.memory.Now)))
			out.MemoryMax = &hard
		}
	}
	for part, r := range l.io {
		if part == 0 || l.io[part-1].device != r.device { // one line has all rates of a disk
			out.IO = append(out.IO, l.line(part, r.limit.Now))
		}
	}
	return out
}

// lower makes one smaller: at once, but memory in the background, as it may have to be
// reclaimed first. The caller holds e.mu.
func (n *Node) lower(e *entry, d detect.Decision) {
	a, s := e.active, e.active.scaling
	groups := groupsOf(e, serving(e))
	if d.Resource != detect.Memory {
		inForce, err := setLimit(groups, &s.limits, d.Resource, d.Part, d.To)
		n.lowered(e, d, inForce, err)
		return
	}
	s.lowering = true
	now := s.limits.clone()
	n.work.Go(func() {
		inForce, err := setLimit(groups, &now, d.Resource, d.Part, d.To)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.active != a || a.scaling != s {
			return
		}
		s.lowering = false
		n.lowered(e, d, inForce, err)
		n.looks.add(e, cause{}) // it may need more by now
	})
}

// lowered notes what came of it. The caller holds e.mu.
func (n *Node) lowered(e *entry, d detect.Decision, inForce float64, err error) {
	s := e.active.scaling
	if err != nil {
		n.log.Error("cannot lower a limit", "site", e.name, "resource", d.Resource, "error", err)
		return
	}
	s.limits.of(d.Resource, d.Part).Now = inForce
	if d.To = inForce; inForce < d.From {
		n.scaled(e, d, 0, cause{}, 0)
	}
	n.budget.claim(e.id, s.limits, len(serving(e)), e.active.spec, false)
}

// fillLimits shows the limits that hold now, with the range that the spec has.
func (n *Node) fillLimits(v *api.Site, l spec.Limits, now *siteLimits) {
	if n.parent.Has("cpu") && (l.CPU.Max > 0 || l.CPU.Min > 0) {
		v.Limits.CPU = &api.CPULimit{Now: float64(l.CPU.Max), Min: float64(l.CPU.Min), Max: float64(l.CPU.Max)}
		if now != nil && now.cpu.Max > 0 {
			v.Limits.CPU.Now = now.cpu.Now
		}
	}
	if n.parent.Has("memory") && (l.Memory.Max > 0 || l.Memory.Min > 0 || l.Memory.High > 0) {
		v.Limits.Memory = &api.MemoryLimit{Now: int64(l.Memory.Max), Min: int64(l.Memory.Min), Max: int64(l.Memory.Max)}
		if now != nil && now.memory.Max > 0 {
			v.Limits.Memory.Now = int64(now.memory.Now)
		}
	}
	if n.parent.Has("pids") && l.Pids.Max > 0 {
		v.Limits.PIDs = &api.PIDsLimit{Now: int64(l.Pids.Max), Min: int64(l.Pids.Min), Max: int64(l.Pids.Max)}
		if now != nil && now.pids.Max > 0 {
			v.Limits.PIDs.Now = int64(now.pids.Now)
		}
	}
	if n.parent.Has("io") {
		v.Limits.IO = viewRates(l.IO, now)
	}
}
