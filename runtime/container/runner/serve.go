//go:build linux

package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"

	"github.com/fcnode/fcnode/runtime/cgroup/cgroupfd"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// The descriptors that the shim passes.
const (
	socketFD = 3 + iota
	stdoutFD
	stderrFD
	shimFD
)

// Serve prepares a start, waits for one request on the inherited socket and
// carries it out. It returns nil without a request when the daemon is gone.
func Serve() error {
	files := inherited("socket", "stdout", "stderr", "shim")
	conn, err := wire.Conn(files[0])
	if err != nil {
		return err
	}
	prep, err := prepare()
	if err != nil {
		return errors.Join(err, wire.Send(conn, wire.StartReply{Error: asError(err)}))
	}
	var req wire.StartRequest
	fds, err := wire.Recv(conn, &req)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for a request: %w", err)
	}
	s := &start{req: req, prep: prep, stdout: files[1], stderr: files[2], shim: json.NewEncoder(files[3])}
	s.step("received")
	if len(fds) != 1 {
		return fmt.Errorf("the request came with %d descriptors instead of the network namespace alone", len(fds))
	}
	s.netns = fds[0]
	return s.answer(conn, s.run())
}

// inherited names the descriptors that start at socketFD, and keeps them from
// being inherited further.
func inherited(names ...string) []*os.File {
	files := make([]*os.File, len(names))
	for i, name := range names {
		unix.CloseOnExec(socketFD + i)
		files[i] = os.NewFile(uintptr(socketFD+i), name)
	}
	return files
}

// answer tells the daemon. That it has died meanwhile is not this process'
// concern: the container is recorded, and the next daemon finds it.
func (s *start) answer(conn *net.UnixConn, err error) error {
	reply := wire.StartReply{Init: s.init, Steps: s.steps}
	if err != nil {
		reply.Error = asError(err)
	}
	_ = wire.Send(conn, reply) // see above
	return err
}

// prepared is what a start needs and no request changes.
type prepared struct {
	template *template
}

// prepare does ahead what it can. The mount namespace is this process' own.
func prepare() (*prepared, error) {
	// Volumes that are mounted on the machine later are to be seen here, mounts
	// made here are not to be seen there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("keeping mounts private: %w", err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", cgroupfd.Mountpoint, "", flags, ""); err != nil {
		return nil, fmt.Errorf("making %s read-only here: %w", cgroupfd.Mountpoint, err)
	}
	t, err := newTemplate()
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // what waits should be small
	return &prepared{template: t}, nil
}
