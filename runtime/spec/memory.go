package spec

import (
	"fmt"
	"slices"
	"strings"
)

// Tmpfs is a folder in memory. In a file a plain path is Target.
type Tmpfs struct {
	// Target is the absolute path inside of the site. What the image has there is copied into it at each start; where it has nothing
	// everybody may write to it.
	Target string `json:"target" jsonschema:"required" also:"dst,destination,mountpath,containerpath,path" alone:"true"`
	// Size is the most that it can hold, from 64KiB. Default: half of the node's memory.
	Size Bytes `json:"size,omitzero" also:"limit,max,sizelimit"`
	// NoExec keeps the site from executing programs that are in it. Default: false.
	NoExec bool `json:"noExec,omitempty" also:"noexec"`
}

const (
	maxTmpfs  = 32
	minMemFS  = 64 * KiB
	memAllows = "64KiB to 8388607TiB"
)

// writableInMemory is what programs take for granted that they can write to: where
// the root is read-only and nothing else is said, these are in memory.
var writableInMemory = []string{"/tmp", "/run", "/var/tmp"}

// InMemory are the folders in memory of the site, with its volumes.
func (s *Site) InMemory(volumes []Volume) []Tmpfs {
	if s.Tmpfs != nil || !s.ReadOnlyRoot {
		return s.Tmpfs
	}
	var list []Tmpfs
	for _, target := range writableInMemory {
		if !covered(target, volumes) {
			list = append(list, Tmpfs{Target: target})
		}
	}
	return list
}

// tmpfs checks what is kept in memory.
func (c checker) tmpfs(s *Site) {
	if len(s.Tmpfs) > maxTmpfs {
		c.bad("tmpfs", fmt.Sprintf("up to %d folders", maxTmpfs), "has %d folders", len(s.Tmpfs))
		return
	}
	for i, t := range s.Tmpfs {
		at := fmt.Sprintf("tmpfs[%d]", i)
		c.inMemory(at+".size", t.Size, s.Limits)
		if !c.path(at+".target", t.Target) {
			continue
		}
		same := func(v Volume) bool { return v.Target == t.Target }
		switch {
		case t.Target == "/dev/shm":
			c.bad(at+".target", "shmSize for /dev/shm", "%s is in memory in any case", t.Target)
		case ofTheContainer(t.Target):
			c.bad(at+".target", "a path outside of /proc, /sys and /dev", "%s belongs to the container", t.Target)
		case slices.ContainsFunc(s.Tmpfs[:i], func(b Tmpfs) bool { return b.Target == t.Target }):
			c.bad(at+".target", "each target once", "%s stands in the list twice", t.Target)
		case slices.ContainsFunc(s.Volumes, same):
			c.bad(at+".target", "each target once", "%s is the target of volumes[%d] already", t.Target, slices.IndexFunc(s.Volumes, same))
		}
		for j, before := range s.Tmpfs[:i] {
			if strings.HasPrefix(before.Target, t.Target+"/") {
				c.bad(at+".target", "outer targets before inner ones", "%s would hide %s of tmpfs[%d], which is mounted before it", t.Target, before.Target, j)
			}
		}
	}
	c.inMemory("shmSize", s.ShmSize, s.Limits)
}

// inMemory checks the size of a file system in memory, 0 being none. What it holds is the site's memory.
func (c checker) inMemory(at string, size Bytes, limits Limits) {
	switch most := limits.Memory.Max; {
	case size == 0:
	case size < minMemFS:
		c.bad(at, memAllows, "%s is too small", size)
	case most > 0 && size > most:
		c.bad(at, "up to limits.memory.max", "%s can never be used: all memory of the site is at most %s", size, most)
	}
}
