// Package meminfo reads /proc/meminfo (proc_meminfo(5)).
package meminfo

import (
	"strconv"
	"strings"
)

// Path is where the kernel says it.
const Path = "/proc/meminfo"

// Parse gives the sizes by their names, in bytes. Lines that are none are
// passed over.
func Parse(text string) map[string]uint64 {
	info := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
			info[key] = n << 10
		}
	}
	return info
}
