package policy

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

// Memory is what the node has of memory.
type Memory struct {
	mu   sync.Mutex
	at   time.Time
	last MemoryState
	err  error
}

// MemoryState is one reading of the node's memory.
type MemoryState struct {
	Available, Total uint64 // bytes
	swap             cgroup.Swap
}

func (m *Memory) Read() (MemoryState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.at) > memoryFresh {
		m.at = now
		m.last, m.err = readMemory()
	}
	return m.last, m.err
}

func readMemory() (MemoryState, error) {
	var s MemoryState
	b, err := os.ReadFile(meminfo.Path)
	if err != nil {
		return s, fmt.Errorf("read how much memory is available: %w", err)
	}
	s.Available, s.Total = parseMemory(b)
	if s.Total == 0 {
		return s, errors.New("read how much memory is available: " + meminfo.Path + " does not say")
	}
	s.swap, err = cgroup.DetectSwap()
	return s, err
}

func parseMemory(text []byte) (available, total uint64) {
	info := meminfo.Parse(string(text))
	return info["MemAvailable"], info["MemTotal"]
}

// Short says whether less than a share of the node's memory is available.
func (s MemoryState) Short(below float64) bool {
	return float64(s.Available) < below*float64(s.Total)
}

// pressure is how much dearer memory is than usual: ten times where none is left.
func (s MemoryState) pressure(below float64) float64 {
	if enough := below * float64(s.Total); float64(s.Available) < enough {
		return 1 + 9*(1-float64(s.Available)/enough)
	}
	return 1
}
