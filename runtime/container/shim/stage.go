//go:build linux

package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// The descriptors of the stage: CRIU's RPC socket, which it leaves alone, and
// its connection to the shim.
const stageFD = criu.FirstFileFD

// The descriptors that the stage leaves to CRIU. They are far from those that Go's
// runtime has opened for itself.
const (
	stagedNetns = 100 + iota
	stagedStdout
	stagedStderr
	stagedNull // and following
)

// Stage is the first life of the process that becomes CRIU. Born in the
// replica's cgroup and in a mount namespace of its own, it prepares what no request
// changes and waits; on a request it mounts the root file system and executes args.
// It returns only if something fails.
func Stage(runDir string, args []string) error {
	runtime.LockOSThread() // the thread that executes CRIU brings its namespaces along
	unix.CloseOnExec(stageFD)
	conn, err := wire.Conn(os.NewFile(stageFD, "stage"))
	if err != nil {
		return err
	}
	if err := prepareStage(runDir); err != nil {
		return errors.Join(err, wire.Send(conn, wire.StageReady{Error: wire.AsError(err)}))
	}
	if err := wire.Send(conn, wire.StageReady{}); err != nil {
		return err
	}
	var req wire.StageRequest
	files, err := wire.Recv(conn, &req)
	if err != nil {
		return nil // the shim has ended: nobody wants a restore
	}
	err = runStage(runDir, req, files, args)
	return errors.Join(err, wire.Send(conn, wire.StageReady{Error: wire.AsError(err)}))
}

func prepareStage(runDir string) error {
	// Volumes that are mounted on the machine later are to be seen here, mounts
	// made here are not to be seen there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	// CRIU leaves cgroups alone; the tree inherits the namespace.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("making a cgroup namespace: %w", err)
	}
	system := filepath.Join(runDir, wire.SystemDir)
	if err := mounts.Dev(system); err != nil {
		return err
	}
	return mounts.Empty(emptyDir(runDir))
}

// emptyDir is where the empty folder is mounted: the place is free, as nothing else is
// prepared in this mount namespace.
func emptyDir(runDir string) string { return filepath.Join(runDir, wire.SystemDir, "proc") }

func runStage(runDir string, req wire.StageRequest, files []*os.File, args []string) error {
	if len(files) != 3 {
		return fmt.Errorf("a stage got %d descriptors instead of network namespace and output", len(files))
	}
	err := mounts.Overlay(mounts.Root{ID: req.ID, Target: req.Rootfs, Lower: req.Lower, Upper: req.Upper, Work: req.Work})
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := unix.Dup3(int(f.Fd()), stagedNetns+i, 0); err != nil {
			return fmt.Errorf("handing a descriptor to CRIU: %w", err)
		}
	}
	null := filepath.Join(runDir, wire.SystemDir, "dev/null")
	for i := range req.Nulls {
		fd, err := unix.Open(null, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening /dev/null of the container: %w", err)
		}
		if err := unix.Dup3(fd, stagedNull+i, 0); err != nil {
			return fmt.Errorf("handing /dev/null to CRIU: %w", err)
		}
	}
	if err := unix.Exec(args[0], args, os.Environ()); err != nil {
		return fmt.Errorf("executing %s: %w", args[0], err)
	}
	return nil
}

// startStage starts the process that becomes CRIU, in the replica's cgroup.
func (s *shim) startStage(tool *criu.Tool) (*criu.Session, *net.UnixConn, error) {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close() // the stage has its own
	session, err := tool.Start(criu.SessionOptions{
		Files: []*os.File{theirs},
		Wrap:  []string{"/proc/self/exe", "stage", s.opts.RunDir},
		Attr:  s.birth(),
	})
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return session, conn, nil
}
