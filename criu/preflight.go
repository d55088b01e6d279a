package criu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Finding is something of a process that breaks a dump, and what to do about it.
type Finding struct {
	Process string `json:"process"` // "name (number)"
	What    string `json:"what"`
	Remedy  string `json:"remedy"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s; %s", f.Process, f.What, f.Remedy) }

// Preflight looks at the processes of one tree and says what of them CRIU cannot
// put into an image. It changes nothing and does not stop them, so it is right about the
// moment only. That it finds nothing is no promise.
func Preflight(pids []int) ([]Finding, error) {
	var findings []Finding
	for _, pid := range pids {
		p := &process{pid: pid, tree: pids}
		if err := p.look(); err != nil {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // it has ended
			}
			return nil, fmt.Errorf("looking at process %d: %w", pid, err)
		}
		findings = append(findings, p.findings...)
	}
	return findings, nil
}

type process struct {
	pid      int
	tree     []int
	name     string
	pidfd    int
	findings []Finding
}

func (p *process) path(elem ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(p.pid)}, elem...)...)
}

func (p *process) found(remedy, what string, args ...any) {
	f := Finding{Process: fmt.Sprintf("%s (%d)", p.name, p.pid), What: fmt.Sprintf(what, args...), Remedy: remedy}
	if !slices.Contains(p.findings, f) {
		p.findings = append(p.findings, f)
	}
}

func (p *process) look() error {
	comm, err := os.ReadFile(p.path("comm"))
	if err != nil {
		return err
	}
	p.name = strings.TrimSpace(string(comm))
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		return err
	}
	defer unix.Close(p.pidfd) // read only
	if err := p.lookUser(); err != nil {
		return err
	}
	if err := p.lookFiles(); err != nil {
		return err
	}
	return p.lookMemory()
}

// lookUser: the limits of another user's process are read and set with CAP_SYS_RESOURCE
// only, in the user namespace of that process: who has made one has it there
// (check_prlimit_permission in kernel/sys.c).
func (p *process) lookUser() error {
	var st unix.Stat_t
	if err := unix.Stat(p.path(), &st); err != nil {
		return err
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(p.path("ns/user"))
	if err != nil {
		return err
	}
	if st.Uid != uint32(os.Geteuid()) && ours == theirs && !hasCapability(unix.CAP_SYS_RESOURCE) {
		p.found("run fcnode with CAP_SYS_RESOURCE, or the site with userns: private",
			"it runs as user %d, and the limits of another user's process cannot be saved here", st.Uid)
	}
	return nil
}

func hasCapability(number uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[number/32].Effective&(1<<(number%32)) != 0
}

// unsupported are descriptors that are no files, by what the kernel calls them.
var unsupported = map[string]struct{ what, remedy string }{
	"[io_uring]":         {"it uses io_uring", "switch that off in the application; containers of fcnode refuse it anyhow"},
	"[userfaultfd]":      {"it handles its own page faults (userfaultfd)", "switch that off in the application"},
	"[perf_event]":       {"it measures itself by perf events", "switch the profiler off"},
	"bpf-map":            {"it uses BPF", "switch that off in the application"},
	"bpf-prog":           {"it uses BPF", "switch that off in the application"},
	"[fanotify]":         {"it watches files by fanotify", "switch that off in the application"},
	"[landlock-ruleset]": {"it has a Landlock rule set open", "switch that off in the application"},
}

func (p *process) lookFiles() error {
	fds, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return err
	}
	for _, fd := range fds {
		target, err := os.Readlink(p.path("fd", fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, name, _ := strings.Cut(target, ":")
		switch {
		case kind == "anon_inode":
			p.lookAnonymous(name, fd.Name())
		case kind == "socket":
			p.lookSocket(fd.Name())
		case strings.HasSuffix(target, " (deleted)"):
			p.lookDeleted(p.path("fd", fd.Name()), target)
		}
	}
	return nil
}

func (p *process) lookAnonymous(name, fd string) {
	if name == "inotify" {
		p.lookInotify(fd)
		return
	}
	if u, known := unsupported[name]; known {
		p.found(u.remedy, "%s", u.what)
	}
}

// lookInotify: watches are by file handles, which an overlay does not give for files of
// the image.
func (p *process) lookInotify(fd string) {
	info, err := os.ReadFile(p.path("fdinfo", fd))
	if err != nil {
		return // closed meanwhile
	}
	var root unix.Stat_t
	if err := unix.Stat(p.path("root")+"/", &root); err != nil {
		return // ended
	}
	// The kernel's own form of a device number: 12 bits and 20 bits.
	dev := fmt.Sprintf("sdev:%x ", unix.Major(root.Dev)<<20|unix.Minor(root.Dev))
	if bytes.Contains(info, []byte(dev)) {
		p.found("switch the watching of files off (reload on change, development mode)", "it watches files by inotify, which breaks a dump where they are the image's own")
	}
}

// lookDeleted: files without a name are put into the image as a whole.
func (p *process) lookDeleted(path, target string) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 0 {
		return
	}
	if st.Size > GhostLimit {
		p.found("let it use a smaller file, or one with a name in a volume",
			"it has %d MiB of a deleted file or of shared memory (%s), and %d can be saved", st.Size>>20, target, GhostLimit>>20)
	}
}

func (p *process) lookMemory() error {
	b, err := os.ReadFile(p.path("maps"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		// CRIU lets the process execute some of its own code, which it writes over
		// the first code that it finds. That fails where others share it.
		if fields[1] == "r-xs" {
			p.found("switch the JIT off (PHP: opcache.jit=off)", "it has code in shared memory, as PHP's JIT does")
		}
	}
	return nil
}
