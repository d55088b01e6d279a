package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

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

// StageArg begins the command line of a stage; the ids, mountDir and CRIU's command line follow.
const StageArg = "stage"

// Stage is the first life of the process that becomes CRIU. Born in the
// replica's cgroup and in a mount namespace of its own, it prepares what no request
// changes and executes args, ahead of any request. ids are those of a container with
// a user namespace, or 0. It returns only if something fails.
func Stage(ids wire.IDs, mountDir string, args []string) error {
	runtime.LockOSThread() // the thread that executes CRIU brings its namespaces along
	unix.CloseOnExec(stageFD)
	conn, err := wire.Conn(os.NewFile(stageFD, "stage"))
	if err != nil {
		return err
	}
	err = errors.Join(mortal(), prepareStage(ids, mountDir))
	if err == nil {
		err = fmt.Errorf("executing %s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
	}
	return errors.Join(err, wire.Send(conn, wire.StageFailed{Error: wire.AsError(err)}))
}

// mortal takes back what protects the daemon, and what it starts, when the machine
// has no memory left. CRIU gives each process the oom_score_adj that it had, which without
// CAP_SYS_RESOURCE nobody can lower below what is set here: root in the container could
// make it the daemon's otherwise.
func mortal() error {
	const file = "/proc/self/oom_score_adj"
	now, err := os.ReadFile(file)
	if err == nil && strings.HasPrefix(string(now), "-") {
		err = os.WriteFile(file, []byte("0"), 0)
	}
	if err != nil {
		return fmt.Errorf("leaving the daemon's oom_score_adj: %w", err)
	}
	return nil
}

func prepareStage(ids wire.IDs, mountDir string) error {
	// Volumes that are mounted on the machine later are to be seen here, mounts
	// made here are not to be seen there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	// CRIU leaves cgroups alone; the tree inherits the namespace.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("making a cgroup namespace: %w", err)
	}
	system := filepath.Join(mountDir, wire.SystemDir)
	makeDev := mounts.Dev
	if ids != 0 {
		makeDev = func(system string) error { return enterMapped(uint32(ids), mountDir, system) }
	}
	if err := errors.Join(makeDev(system), mounts.Empty(emptyDir(mountDir), uint32(ids))); err != nil {
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

// enterMapped enters the network namespace of a container with a user namespace, for
// CRIU, which restores only processes of its own then, and mounts what nobody in
// that user namespace could.
func enterMapped(root uint32, mountDir, system string) error {
	netns := os.NewFile(stagedNetns, "network namespace")
	if err := unix.Setns(stagedNetns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace of the container: %w", err)
	}
	if err := unix.Mount("tmpfs", mountDir, "tmpfs", mounts.Quiet, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mounting a folder for the mounts of the container: %w", err)
	}
	for _, dir := range []string{system, emptyDir(mountDir), parkDir(mountDir), filepath.Join(system, "dev"), sysDir(mountDir), shmDir(mountDir), cgroupDir(mountDir), imagesDir(mountDir), filepath.Join(mountDir, wire.RootfsDir)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making a folder for the mounts of the container: %w", err)
		}
	}
	dev, sys, err := mounts.MappedSystem(root, netns)
	if err != nil {
		return err
	}
	defer dev.Close()
	defer sys.Close()
	if err := mounts.MappedDev(system, dev, shmDir(mountDir), root); err != nil {
		return err
	}
	if err := mounts.MoveTo(sys, sysDir(mountDir)); err != nil {
		return fmt.Errorf("mounting /sys of the container: %w", err)
	}
	return nil
}

// Where /sys, /dev/shm, the cgroup and the image of a container with a user namespace are mounted.
func sysDir(mountDir string) string    { return filepath.Join(mountDir, "sys") }
func shmDir(mountDir string) string    { return filepath.Join(mountDir, "shm") }
func cgroupDir(mountDir string) string { return filepath.Join(mountDir, "cgroup") }
func imagesDir(mountDir string) string { return filepath.Join(mountDir, "images") }

// emptyDir is where the empty folder is mounted: the place is free, as nothing else is
// prepared in this mount namespace.
func emptyDir(mountDir string) string { return filepath.Join(mountDir, wire.SystemDir, "proc") }

// parkDir is where volumes are mounted, a free place like emptyDir.
func parkDir(mountDir string) string { return filepath.Join(mountDir, wire.SystemDir, "sys") }

// startStage starts the process that becomes CRIU, in the replica's cgroup. In
// place of a network namespace, which only the request brings unless the container has
// a user namespace, CRIU gets a descriptor of this process: setns(2) takes that for the namespace in which this process' first
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
	netns := r.opts.Netns
	if netns == nil {
		self, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			return fmt.Errorf("opening a descriptor of this process: %w", err)
		}
		netns = os.NewFile(uintptr(self), "pidfd")
	}
	r.session, err = r.tool.Start(criu.SessionOptions{
		Files: []*os.File{theirs, netns, ends[0], ends[1]}, // stageFD and following
		Wrap:  []string{"/proc/self/exe", StageArg, strconv.FormatUint(uint64(r.opts.IDs), 10), r.opts.mountDir()},
		Attr:  r.birth(),
	})
	for _, f := range append(ends[:], netns) {
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
