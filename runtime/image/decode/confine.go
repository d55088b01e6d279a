package decode

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds on the memory of the process (bytes), beside what it has at its start. The
// largest window of zstd takes some 260 MiB.
const (
	memory     = 512 << 20
	memoryGoal = 384 << 20 // from which on garbage is collected more often
)

// confine takes from the process what it does not need: for good, and for all of its
// threads.
func confine() error {
	debug.SetMemoryLimit(memoryGoal)
	if err := boundMemory(); err != nil {
		return fmt.Errorf("bound its memory: %w", err)
	}
	for _, what := range []int{unix.RLIMIT_CORE, unix.RLIMIT_FSIZE, unix.RLIMIT_NOFILE} {
		if err := unix.Setrlimit(what, &unix.Rlimit{}); err != nil {
			return fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	// Others of the same user may neither read nor change it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("let nobody trace it: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return loadFilter()
}

// boundMemory bounds it, and has the kernel end this process first where the machine
// has none left.
func boundMemory() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 6 {
		return fmt.Errorf("/proc/self/statm has %d fields", len(fields))
	}
	pages, err := strconv.ParseUint(fields[5], 10, 64) // of data and stacks
	if err != nil {
		return err
	}
	most := pages*uint64(os.Getpagesize()) + memory
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most})
}

// allowed are the system calls of a Go program that reads and writes what is open.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	unix.SYS_MUNMAP, unix.SYS_MADVISE,
	unix.SYS_EPOLL_PWAIT, // on what Go has opened at the start
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_TGKILL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, // a new thread's, in a program with C
}

// auditArch are the kernel's names of architectures.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Offsets into struct seccomp_data, of the lower halves of arguments on little-endian
// machines.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArg0 = 16
	offsetArg2 = 32
)

// filter allows those, memory that is not executed, and threads. Other calls are
// answered as by a kernel that has none of them.
func filter() ([]unix.SockFilter, error) {
	arch, known := auditArch[runtime.GOARCH]
	if !known {
		return nil, fmt.Errorf("no filter is known for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	give := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	skipUnless := func(value uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: n}
	}
	const allow, refuse = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	prog := []unix.SockFilter{load(offsetArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1}, give(unix.SECCOMP_RET_KILL_PROCESS), load(offsetCall)}
	for _, call := range allowed {
		prog = append(prog, skipUnless(call, 1), give(allow))
	}
	bits := func(call, arg, bits uint32, set, unset uint32) {
		prog = append(prog, skipUnless(call, 4), load(arg),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: bits, Jf: 1}, give(set), give(unset))
	}
	bits(unix.SYS_MMAP, offsetArg2, unix.PROT_EXEC, refuse, allow)
	bits(unix.SYS_MPROTECT, offsetArg2, unix.PROT_EXEC, refuse, allow)
	bits(unix.SYS_CLONE, offsetArg0, unix.CLONE_THREAD, allow, refuse)
	return append(prog, give(refuse)), nil
}

// loadFilter loads it for all threads.
func loadFilter() error {
	prog, err := filter()
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if thread != 0 {
		return fmt.Errorf("thread %d cannot have the seccomp filter", thread)
	}
	return nil
}
