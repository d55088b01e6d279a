package scale

import (
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/site"
)

// Settable is the change to limits that move while a replica runs, as far as this
// machine can set them.
func Settable(l cgroup.Limits, has func(controller string) bool) cgroup.Change {
	var to cgroup.Limits
	if has("cpu") {
		to.CPU = l.CPU
	}
	if has("memory") {
		to.MemoryHigh, to.MemoryMax = l.MemoryHigh, l.MemoryMax
	}
	if has("pids") {
		to.Pids = l.Pids
	}
	if has("io") {
		to.IO = l.IO
	}
	return cgroup.Difference(cgroup.Limits{}, to)
}

// inherit passes the time at which a replica was asked for on to the one that is made
// in its place, if it ended before anybody came.
func (s *State) inherit(comers map[site.ReplicaID]bool) {
	for id, told := range s.outs {
		if comers[id] {
			continue
		}
		delete(s.begun, id)
		delete(s.outs, id)
		for heir, serves := range comers {
			_, known := s.outs[heir]
			if _, watched := s.watched[heir]; serves && !known && !watched {
				s.outs[heir] = told
				break
			}
		}
	}
}
