package runner

/*
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// What the thread is asked for.
enum { FILTER = 1, FILTER_NEW_PRIVILEGES = 2, HUGE_PAGES = 3 };

static long sync_filter(void)
{
	// TSYNC comes with a new filter only; this one allows everything, so that
	// what the calling thread has already decides.
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
}

// serve_one does what a byte asks for: FILTER gives all threads of the process
// the filter of the calling one and with it no_new_privs, FILTER_NEW_PRIVILEGES
// the filter alone, HUGE_PAGES lets the process and the program after it have
// such pages. The answer is 0, or an errno.
static int serve_one(char what)
{
	long r = 0;
	switch (what) {
	case FILTER:
		r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		// fall through
	case FILTER_NEW_PRIVILEGES:
		if (r == 0)
			r = sync_filter();
		break;
	case HUGE_PAGES:
		r = prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
		break;
	default:
		return EINVAL;
	}
	// More than 0 is the number of a thread that could not be synchronised.
	return r == 0 ? 0 : r > 0 ? ESRCH : errno;
}

// serve_runner serves the bytes that come on fd. It is C because it has to run
// while Go's scheduler has other things to do: when a byte comes, the process'
// only P belongs to a thread that sits in a system call.
static void serve_runner(int fd)
{
	char byte;
	while (read(fd, &byte, 1) == 1) {
		byte = serve_one(byte);
		if (write(fd, &byte, 1) != 1)
			_exit(1);
	}
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
	"strings"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	libseccomp "github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompProfile is the default profile of container runtimes for the
// capabilities that a site can have (of which only one matters to it), and for
// the native architecture only, unless others are named: compiling it for all
// foreign ones too takes 26 ms. A program in another architecture's system call
// convention (32 bit x86) is killed.
func seccompProfile(foreign string) (*configs.Seccomp, error) {
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_CHROOT"}},
	}})
	if err != nil {
		return nil, fmt.Errorf("making the seccomp profile: %w", err)
	}
	profile.Architectures = nil // native
	if foreign != "" {
		for _, name := range append(strings.Split(foreign, ","), runtime.GOARCH) {
			arch, known := seccompArch[name]
			if !known {
				return nil, fmt.Errorf("making the seccomp profile: no architecture %q is known", name)
			}
			profile.Architectures = append(profile.Architectures, arch)
		}
	}
	filter, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, fmt.Errorf("converting the seccomp profile: %w", err)
	}
	return filter, nil
}

// seccompArch is what seccomp calls the architectures that can stand beside each
// other.
var seccompArch = map[string]specs.Arch{
	"amd64": specs.ArchX86_64, "386": specs.ArchX86, "arm64": specs.ArchAARCH64, "arm": specs.ArchARM,
}

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP.
const noSetuidFixup = 1 << 2

// startFilter loads the filter for one thread, which then waits for filterOn. That
// thread has no no_new_privs yet: only the request says whether the others get it.
func startFilter(filter *configs.Seccomp) error {
	unix.CloseOnExec(filterFD)
	loaded := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no other use
		// While the process becomes another user's this thread keeps its
		// capabilities: without no_new_privs filterOn takes one.
		err := unix.Prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, 0, 0)
		if err == nil {
			_, err = libseccomp.InitSeccomp(filter)
		}
		loaded <- err
		if err == nil {
			C.serve_runner(filterFD)
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
func filterOn(thread *os.File, p wire.Privileges) error {
	if p.New {
		return askThread(thread, C.FILTER_NEW_PRIVILEGES)
	}
	return askThread(thread, C.FILTER)
}

// hugePagesOn asks the same thread to allow huge pages, which Gate has not done
// for an init that waits: the kernel would make its memory huge meanwhile.
func hugePagesOn(thread *os.File) error {
	err := askThread(thread, C.HUGE_PAGES)
	if errors.Is(err, unix.EINVAL) {
		return nil // a kernel without any
	}
	return err
}

func askThread(thread *os.File, what byte) error {
	var answer [1]byte
	_, err := thread.Write([]byte{what})
	if err == nil {
		_, err = thread.Read(answer[:])
	}
	if err == nil && answer[0] != 0 {
		err = unix.Errno(answer[0])
	}
	return err
}
