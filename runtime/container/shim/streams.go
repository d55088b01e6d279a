package shim

import (
	"errors"
	"fmt"
	"os"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// ownStreams gives the pipes of the output to who had those at the dump, which
// are whose the container's user or its programs made them: it opens /dev/stdout.
func (r *restorer) ownStreams() error {
	if r.req.Owners == nil {
		return nil
	}
	for f, to := range map[*os.File]wire.Owner{r.stdout: r.req.Owners.Stdout, r.stderr: r.req.Owners.Stderr} {
		fd := int(f.Fd())
		if err := errors.Join(unix.Fchown(fd, int(r.opts.IDs)+int(to.UID), int(r.opts.IDs)+int(to.GID)), unix.Fchmod(fd, to.Mode)); err != nil {
			return fmt.Errorf("giving a pipe of the output to its user: %w", err)
		}
	}
	return nil
}

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
