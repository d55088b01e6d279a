package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Change is what Apply changes of a running replica's limits. What is nil
// stays; the zero value of a limit means, as in Limits: not limited.
type Change struct {
	CPU        *float64
	CPUWeight  *uint64
	MemoryLow  *uint64
	MemoryHigh *uint64
	MemoryMax  *uint64
	MemorySwap *int64
	Pids       *int64
	CPUSet     *string
	IO         []IOLimit // of the disks that change
}

// Difference is the change that leads from one set of limits to the other.
func Difference(from, to Limits) Change {
	c := Change{
		CPU: changed(from.CPU, to.CPU), CPUWeight: changed(from.CPUWeight, to.CPUWeight),
		MemoryLow: changed(from.MemoryLow, to.MemoryLow), MemoryHigh: changed(from.MemoryHigh, to.MemoryHigh),
		MemoryMax: changed(from.MemoryMax, to.MemoryMax), MemorySwap: changed(from.MemorySwap, to.MemorySwap), Pids: changed(from.Pids, to.Pids), CPUSet: changed(from.CPUSet, to.CPUSet),
	}
	for _, l := range to.IO {
		if !slices.Contains(from.IO, l) {
			c.IO = append(c.IO, l)
		}
	}
	for _, l := range from.IO {
		if !slices.ContainsFunc(to.IO, func(o IOLimit) bool { return o.Device == l.Device }) {
			c.IO = append(c.IO, IOLimit{Device: l.Device})
		}
	}
	return c
}

func changed[T comparable](from, to T) *T {
	if from == to {
		return nil
	}
	return &to
}

// limits are the new values, the others being those that are always valid.
func (c Change) limits() Limits {
	var l Limits
	set(&l.CPU, c.CPU)
	set(&l.CPUWeight, c.CPUWeight)
	set(&l.MemoryLow, c.MemoryLow)
	set(&l.MemoryHigh, c.MemoryHigh)
	set(&l.MemoryMax, c.MemoryMax)
	set(&l.MemorySwap, c.MemorySwap)
	set(&l.Pids, c.Pids)
	set(&l.CPUSet, c.CPUSet)
	l.IO = c.IO
	return l
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// files are the files that a change writes, but for io.max.
func (c Change) files() map[string]bool {
	return map[string]bool{
		"cpu.max": c.CPU != nil, "cpu.weight": c.CPUWeight != nil, "cpuset.cpus": c.CPUSet != nil,
		"memory.low": c.MemoryLow != nil, "memory.high": c.MemoryHigh != nil, "memory.max": c.MemoryMax != nil,
		swapFile: c.MemorySwap != nil, "pids.max": c.Pids != nil,
	}
}

// InUseError means that a memory limit could not be lowered as far as asked
// for, because that much is in use and cannot be reclaimed. Set is in force.
type InUseError struct {
	File   string // memory.high or memory.max
	Wanted uint64 // bytes
	Set    uint64 // bytes
	InUse  uint64 // bytes, when it was set
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s cannot be %d bytes, as %d are in use and cannot be reclaimed: it is %d now", e.File, e.Wanted, e.InUse, e.Set)
}

// shrinkTime bounds what Apply spends on reclaiming memory before a limit of it
// is lowered.
const shrinkTime = 5 * time.Second

// Apply changes limits of a running replica in place, by one write for each
// that changes. A memory limit is lowered only after what is above it has been
// reclaimed, and never below what is in use with some room: neither high nor
// max is ever set so that the write itself stalls the replica or kills in it;
// then an *InUseError tells what was set instead. Limits whose controller is
// absent are left out, and a *ControllerError tells why. Whatever the error,
// the other limits are in force.
func (g *Group) Apply(change Change) error {
	l := change.limits()
	if err := l.Validate(); err != nil {
		return err
	}
	var errs []error
	files := change.files()
	for _, w := range l.writes(true) {
		if !files[w.file] {
			continue
		}
		if err := g.parent.need(w.controller); err != nil {
			errs = append(errs, err)
			continue
		}
		switch w.file {
		case "memory.high":
			errs = append(errs, g.setMemory(w, l.MemoryHigh))
		case "memory.max":
			errs = append(errs, g.setMemory(w, l.MemoryMax))
		default:
			errs = append(errs, g.write(w))
		}
	}
	return errors.Join(append(errs, g.applyIO(change.IO))...)
}

func (g *Group) applyIO(limits []IOLimit) error {
	if len(limits) == 0 {
		return nil
	}
	if err := g.parent.need("io"); err != nil {
		return err
	}
	ws, err := ioWrites(limits)
	if err != nil {
		return err
	}
	for _, w := range ws {
		err = errors.Join(err, g.write(w))
	}
	return err
}

// setMemory writes memory.high or memory.max.
func (g *Group) setMemory(w write, bytes uint64) error {
	before, err := g.value(w.file)
	if err != nil {
		return err
	}
	if bytes == 0 || bytes >= before {
		return g.write(w)
	}
	used, err := g.shrinkTo(bytes)
	if err != nil {
		return err
	}
	if used+room(bytes) <= bytes {
		return g.write(w)
	}
	possible := min(used+room(used), before)
	w.value = orMax(possible)
	if possible < before {
		if err := g.write(w); err != nil {
			return err
		}
	}
	return &InUseError{File: w.file, Wanted: bytes, Set: possible, InUse: used}
}

// shrinkTo reclaims what is above a limit to come, and gives what is then in
// use.
func (g *Group) shrinkTo(bytes uint64) (used uint64, err error) {
	used, err = g.value("memory.current")
	if err != nil || used+room(bytes) <= bytes {
		return used, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), shrinkTime)
	defer cancel()
	_, err = g.Reclaim(ctx, used+room(bytes)-bytes)
	// A kernel without memory.reclaim: what is in use decides.
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoController) {
		return 0, err
	}
	return g.value("memory.current")
}

// room is left between what is in use and a limit that is lowered, for what is
// allocated between the look and the write: a sixteenth, 1 MiB at least.
func room(bytes uint64) uint64 { return max(bytes/16, 1<<20) }
