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
	Available, Total, SwapFree uint64 // bytes

	swap cgroup.Swap
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
	s, err := memoryNow()
	if err != nil {
		return s, err
	}
	s.swap, err = cgroup.DetectSwap()
	return s, err
}

// memoryNow reads it without what kind of swap there is.
func memoryNow() (MemoryState, error) {
	b, err := os.ReadFile(meminfo.Path)
	if err != nil {
		return MemoryState{}, fmt.Errorf("read how much memory is available: %w", err)
	}
	s := parseMemory(b)
	if s.Total == 0 {
		return s, errors.New("read how much memory is available: " + meminfo.Path + " does not say")
	}
	return s, nil
}

func parseMemory(text []byte) MemoryState {
	info := meminfo.Parse(string(text))
	return MemoryState{Available: info["MemAvailable"], Total: info["MemTotal"], SwapFree: info["SwapFree"]}
}

// What is not given to those who start: the kernel needs some to give more, and the daemon to act.
const (
	keptShare = 1.0 / 32      // of the node's memory
	keptMost  = 512 * 1 << 20 // bytes
)

// MemoryLeft is what sites may still take, in bytes; negative: more is taken than may be.
type MemoryLeft struct {
	Memory float64
	Swap   float64 // of which the kernel makes use when there is no other way
	Total  float64 // what all sites may have at most
}

// LeftOf is what is left for the sites below a cgroup: of the node's memory, and below the cgroup's own limit. The
// kernel can push out what sleeps without being asked, so swap counts besides, by half: what it holds in zram takes
// memory.
func LeftOf(sites *cgroup.Parent) (MemoryLeft, error) {
	s, err := memoryNow()
	if err != nil {
		return MemoryLeft{}, err
	}
	total := float64(s.Total)
	left := MemoryLeft{Memory: float64(s.Available) - min(keptShare*total, keptMost), Swap: float64(s.SwapFree) / 2, Total: total}
	if !sites.Has("memory") {
		return left, nil
	}
	most, mostSwap, err := sites.MemoryMax()
	if err != nil {
		return MemoryLeft{}, err
	}
	used, err := sites.Memory()
	if err != nil {
		return MemoryLeft{}, err
	}
	return MemoryLeft{
		Memory: min(left.Memory, float64(most)-float64(used.Held())),
		Swap:   min(left.Swap, float64(mostSwap)-float64(used.Swap)), Total: min(total, float64(most)),
	}, nil
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
