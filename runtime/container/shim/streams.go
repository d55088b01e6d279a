//go:build linux

package shim

import (
	"fmt"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// recordStreams writes down which pipes are the container's output: a
// checkpoint has to tell them from the container's own.
func (s *shim) recordStreams() error {
	var streams wire.Streams
	for _, p := range []struct {
		f  *os.File
		to *uint64
	}{{s.stdout, &streams.Stdout}, {s.stderr, &streams.Stderr}} {
		var st unix.Stat_t
		if err := unix.Fstat(int(p.f.Fd()), &st); err != nil {
			return fmt.Errorf("looking at a pipe: %w", err)
		}
		*p.to = st.Ino
	}
	return wire.WriteFile(s.monitor.Dir, wire.StreamsFile, streams)
}
