package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// memory is what a node takes, in bytes.
type memory struct {
	maps   uint64 // in the kernel: all pinned maps, as map_mem_usage() counts them
	anon   uint64 // the daemon's own: heap, stacks, data
	mapped uint64 // files that it has mapped: the state file's page cache and the program
}

func (m memory) own() uint64 { return m.maps + m.anon }

// kernelMaps sums the pinned maps up.
func kernelMaps(s *stage.Stage) (sum uint64, err error) {
	pins, err := filepath.Glob(s.File("bpf/fcnode/maps/*"))
	if err != nil {
		return 0, err
	}
	if len(pins) == 0 {
		return 0, errors.New("no pinned maps")
	}
	for _, pin := range pins {
		bytes, err := mapMemory(pin)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", pin, err)
		}
		sum += bytes
	}
	return sum, nil
}

func mapMemory(pin string) (bytes uint64, err error) {
	m, err := ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	bytes, _ = info.Memlock() // 0: it has no entries, and is a trie
	return bytes, nil
}

// smaps reads one field of /proc/PID/smaps_rollup.
func smaps(pid int) (map[string]uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return nil, err
	}
	fields := map[string]uint64{}
	for line := range strings.Lines(string(raw)) {
		name, value, ok := strings.Cut(line, ":")
		kib, isKiB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if !ok || !isKiB {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(kib), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		fields[name] = n << 10
	}
	return fields, nil
}

// settleTime is how long a daemon's memory must not shrink any more: Go gives
// what it does not need back to the kernel little by little.
const (
	settleTime  = 5 * time.Second
	settleBound = 60 * time.Second
)

// quiet measures the node when the daemon's memory has stopped shrinking.
func quiet(ctx context.Context, s *stage.Stage) (memory, error) {
	var least memory
	since := time.Now()
	begin := since
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for time.Since(since) < settleTime && time.Since(begin) < settleBound {
		f, err := smaps(s.PID())
		if err != nil {
			return least, err
		}
		anon := f["Anonymous"]
		if least.anon == 0 || anon+anon/200 < least.anon { // by more than 0.5 %
			since = time.Now()
		}
		if least.anon == 0 || anon < least.anon {
			least.anon = anon
		}
		least.mapped = f["Private_Clean"] + f["Private_Dirty"] - min(f["Private_Clean"]+f["Private_Dirty"], anon)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return least, ctx.Err()
		}
	}
	var err error
	least.maps, err = kernelMaps(s)
	return least, err
}
