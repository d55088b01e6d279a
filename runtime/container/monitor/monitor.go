package monitor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/logs"
	"golang.org/x/sys/unix"
)

// Name of the program, and of its processes.
const Name = "fcnode-monitor"

// Fits is a wire.VersionError if the program is of another release.
func Fits(program *os.File) error {
	out, err := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program.Fd()), "version").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", program.Name(), err)
	}
	theirs, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", program.Name(), err)
	}
	if theirs != wire.Version {
		return &wire.VersionError{Ours: wire.Version, Theirs: theirs}
	}
	return nil
}

// Options are what the program is told.
type Options struct {
	Container wire.Monitor
	Cgroup    string // absolute path of the replica's cgroup
	LibDir    string // libcontainer's record of the container

	Init  int  // of the container
	Maker int  // what has made it and may be there still; 0: nothing is
	Stop  bool // it has been asked to end already

	Stdout, Stderr *os.File // the reading ends

	Pages Pages
}

// Pages are the memory of a restored container that is not there yet.
type Pages struct {
	Server     int           // its process; 0: all is there
	Patience   time.Duration // how long it may read nothing
	Marker     string        // a file that is removed when all is there
	Spent      string        // a folder that is removed when it is not needed any more; "": none is
	Checkpoint *os.File      // is kept open until then
	Held       []*os.File    // so that what is missing is never taken for zeroes
}

// Exec executes the program in the place of this process, with all its threads.
// It returns only if that fails.
func Exec(program *os.File, o Options) error {
	files := append([]*os.File{o.Stdout, o.Stderr}, o.Pages.Held...)
	if o.Pages.Checkpoint != nil {
		files = append(files, o.Pages.Checkpoint)
	}
	for _, f := range files {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("handing %s to the monitor: %w", f.Name(), err)
		}
	}
	// Who asks it to end while it is being loaded is heard when it listens.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGTERM - 1)}}, &before); err != nil {
		return fmt.Errorf("blocking SIGTERM: %w", err)
	}
	err := unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), o.args(), []string{})
	return errors.Join(fmt.Errorf("executing %s: %w", Name, err), unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil))
}

func (o Options) args() []string {
	args := []string{Name, strconv.Itoa(wire.Version)}
	add := func(name, value string) { args = append(args, name+"="+value) }
	number := func(name string, n int64) { add(name, strconv.FormatInt(n, 10)) }
	file := func(name string, f *os.File) { number(name, int64(f.Fd())) }

	add("replica", o.Container.ID) // first: people look for it in the list of processes
	number("init", int64(o.Init))
	number("maker", int64(o.Maker))
	number("signal", int64(o.Container.StopSignal))
	if o.Stop {
		number("stop", 1)
	}
	add("dir", o.Container.Dir)
	add("cgroup", o.Cgroup)
	add("lib", o.LibDir)
	file("stdout", o.Stdout)
	file("stderr", o.Stderr)
	log := logs.Options{MaxSize: o.Container.LogMaxSize, Files: o.Container.LogFiles}.WithDefaults()
	add("log", o.Container.LogDir)
	number("size", log.MaxSize)
	number("files", int64(log.Files))
	number("bytes", o.Container.LogBytes)
	number("lines", o.Container.LogLines)
	return append(args, o.Pages.args()...)
}

func (p Pages) args() []string {
	if p.Server == 0 {
		return nil
	}
	args := []string{
		fmt.Sprintf("server=%d", p.Server), fmt.Sprintf("patience=%d", p.Patience.Nanoseconds()),
		"marker=" + p.Marker, "spent=" + p.Spent,
	}
	if p.Checkpoint != nil {
		args = append(args, fmt.Sprintf("checkpoint=%d", p.Checkpoint.Fd()))
	}
	held := make([]string, len(p.Held))
	for i, f := range p.Held {
		held[i] = strconv.Itoa(int(f.Fd()))
	}
	return append(args, "held="+strings.Join(held, ","))
}
