//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryCurrent is the memory that the kernel accounts to the group, in bytes;
// ErrNoController where it does not.
func (g *Group) MemoryCurrent() (uint64, error) {
	if err := g.parent.need("memory"); err != nil {
		return 0, err
	}
	return g.number("memory.current")
}

// number reads a file that holds one number.
func (g *Group) number(name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(g.Path(), name))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s of cgroup %s: %w", name, g.Path(), err)
	}
	return n, nil
}
