//go:build linux

package runner

/*
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

// sync_filter waits for a byte on fd, gives all threads of the process the
// filter of the calling one, and answers with a byte: 0, or an errno. It is C
// because it has to run while Go's scheduler has other things to do: when the
// byte comes, the process' only P belongs to a thread that sits in a system
// call.
static void sync_filter(int fd)
{
	char byte;
	if (read(fd, &byte, 1) != 1)
		return;
	// TSYNC comes with a new filter only; this one allows everything, so that
	// what the calling thread has already decides.
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
	// More than 0 is the number of a thread that could not be synchronised.
	byte = r == 0 ? 0 : r > 0 ? ESRCH : errno;
	if (write(fd, &byte, 1) != 1)
		_exit(1);
	for (;;)
		pause(); // until the process executes the container's program
}
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	libseccomp "github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompProfile is the default profile of container runtimes for the default
// capabilities, and for the native architecture only: compiling it for the
// foreign ones too takes 26 ms. A program in another architecture's system call
// convention (32 bit x86) is killed.
func seccompProfile() (*configs.Seccomp, error) {
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities},
	}})
	if err != nil {
		return nil, fmt.Errorf("making the seccomp profile: %w", err)
	}
	profile.Architectures = nil // native
	filter, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, fmt.Errorf("converting the seccomp profile: %w", err)
	}
	return filter, nil
}

// startFilter loads the filter for one thread, which then waits for filterOn.
func startFilter(filter *configs.Seccomp) error {
	unix.CloseOnExec(filterFD)
	loaded := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no other use
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			_, err = libseccomp.InitSeccomp(filter)
		}
		loaded <- err
		if err == nil {
			C.sync_filter(filterFD)
		}
	}()
	if err := <-loaded; err != nil {
		return fmt.Errorf("loading the seccomp filter: %w", err)
	}
	return nil
}

// filterPair makes the sockets between the runner and the thread of the filter.
func filterPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "filter"), os.NewFile(uintptr(fds[1]), "filter"), nil
}

// filterOn asks the thread of the filter to give it to all threads. After an
// error the program must not run.
func filterOn(thread *os.File) error {
	var answer [1]byte
	_, err := thread.Write([]byte{1})
	if err == nil {
		_, err = thread.Read(answer[:])
	}
	if err == nil && answer[0] != 0 {
		err = unix.Errno(answer[0])
	}
	return errors.Join(err, thread.Close())
}
