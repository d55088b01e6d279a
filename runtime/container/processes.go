package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// strangers are those of a container's processes that do not descend from its
// init: somebody executes them in it. As init adopts orphans inside, their
// parents are outside.
func strangers(pids []int, init int) []int {
	parent := map[int]int{}
	for _, pid := range pids {
		if p, ok := parentOf(pid); ok {
			parent[pid] = p
		}
	}
	var outside []int
	for pid := range parent {
		ancestor := pid
		for ancestor != init && parent[ancestor] != 0 {
			ancestor = parent[ancestor]
		}
		if ancestor != init {
			outside = append(outside, pid)
		}
	}
	return outside
}

// parentOf is the number of a process' parent; false if the process is gone.
func parentOf(pid int) (int, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	var state string
	var parent int
	// The name in parentheses may hold anything.
	_, err = fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+1:]), &state, &parent)
	return parent, err == nil
}

// childrenOf are the numbers of a process' children.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may end
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}
