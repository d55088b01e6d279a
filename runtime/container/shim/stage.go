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

// The descriptors of the stage: its connection to the shim, and those that it
// leaves to CRIU.
const (
	stageFD = criu.FirstFileFD + iota
	stagedNetns
	stagedStdout
	stagedStderr
)

// stagedNull is the first of the descriptors of the container's /dev/null. They are
// far from those that Go's runtime has opened for itself.
const (
	stagedNull  = 100
	stagedNulls = 8
)

// Stage is the first life of the process that becomes CRIU. Born in the
// replica's cgroup and in a mount namespace of its own, it prepares what no request
// changes and executes args, ahead of any request. It returns only if something fails.
func Stage(runDir string, args []string) error {
	runtime.LockOSThread() // the thread that executes CRIU brings its namespaces along
	unix.CloseOnExec(stageFD)
	conn, err := wire.Conn(os.NewFile(stageFD, "stage"))
	if err != nil {
		return err
	}
	err = prepareStage(runDir)
	if err == nil {
		err = fmt.Errorf("executing %s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
	}
	return errors.Join(err, wire.Send(conn, wire.StageFailed{Error: wire.AsError(err)}))
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
	if err := errors.Join(mounts.Dev(system), mounts.Empty(emptyDir(runDir))); err != nil {
		return err
	}
	for i := range stagedNulls {
		fd, err := unix.Open(filepath.Join(system, "dev/null"), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Dup3(fd, stagedNull+i, 0)
		}
		if err != nil {
			return fmt.Errorf("opening /dev/null of the container: %w", err)
		}
	}
	return nil
}

// emptyDir is where the empty folder is mounted: the place is free, as nothing else is
// prepared in this mount namespace.
func emptyDir(runDir string) string { return filepath.Join(runDir, wire.SystemDir, "proc") }

// parkDir is where volumes are mounted, a free place like emptyDir.
func parkDir(runDir string) string { return filepath.Join(runDir, wire.SystemDir, "sys") }

// startStage starts the process that becomes CRIU, in the replica's cgroup. In
// place of a network namespace, which only the request brings, CRIU gets a descriptor of
// this process: setns(2) takes that for the namespace in which this process' first
// thread is by then.
func (r *restorer) startStage() error {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	defer theirs.Close() // the stage has its own
	ends, err := r.outputPipes()
	if err != nil {
		return err
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("opening a descriptor of this process: %w", err)
	}
	pidfd := os.NewFile(uintptr(self), "pidfd")
	r.session, err = r.tool.Start(criu.SessionOptions{
		Files: []*os.File{theirs, pidfd, ends[0], ends[1]}, // stageFD and following
		Wrap:  []string{"/proc/self/exe", "stage", r.opts.RunDir},
		Attr:  r.birth(),
	})
	for _, f := range append(ends[:], pidfd) {
		_ = f.Close() // the stage has its own
	}
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	r.stage = conn
	return nil
}

// staged waits until the stage has become CRIU: then its end of the connection is
// closed without a word.
func staged(conn *net.UnixConn) error {
	var failed wire.StageFailed
	_, err := wire.Recv(conn, &failed)
	switch {
	case isEOF(err):
		return nil
	case err != nil:
		return fmt.Errorf("preparing a restore: %w", err)
	}
	return failed.Error
}
