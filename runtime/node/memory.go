package node

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/internal/meminfo"
)

// memoryFresh is for how long a reading of the node's memory will do: it is asked
// for with every wake, and changes slowly.
const memoryFresh = time.Second

// nodeMemory is what the node has of memory.
type nodeMemory struct {
	mu   sync.Mutex
	at   time.Time
	last memoryState
	err  error
}

type memoryState struct {
	available, total uint64 // bytes
	swap             cgroup.Swap
}

func (m *nodeMemory) read() (memoryState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.at) > memoryFresh {
		m.at = now
		m.last, m.err = readMemory()
	}
	return m.last, m.err
}

func readMemory() (memoryState, error) {
	var s memoryState
	b, err := os.ReadFile(meminfo.Path)
	if err != nil {
		return s, fmt.Errorf("read how much memory is available: %w", err)
	}
	s.available, s.total = parseMemory(b)
	if s.total == 0 {
		return s, errors.New("read how much memory is available: " + meminfo.Path + " does not say")
	}
	s.swap, err = cgroup.DetectSwap()
	return s, err
}

func parseMemory(text []byte) (available, total uint64) {
	info := meminfo.Parse(string(text))
	return info["MemAvailable"], info["MemTotal"]
}

// short says whether less than a share of the node's memory is available.
func (s memoryState) short(below float64) bool {
	return float64(s.available) < below*float64(s.total)
}

// pressure is how much dearer memory is than usual: ten times where none is left.
func (s memoryState) pressure(below float64) float64 {
	if enough := below * float64(s.total); float64(s.available) < enough {
		return 1 + 9*(1-float64(s.available)/enough)
	}
	return 1
}
