package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"golang.org/x/sys/unix"
)

// Mount is a bind mount of a volume.
type Mount = wire.Mount

// NFS is how what a server exports is mounted.
type NFS = wire.NFS

// Secret says how a secret is seen in a container.
type Secret = wire.Secret

// SecretVariable is a variable of the environment whose value is a secret.
type SecretVariable = wire.SecretVariable

// Spec says what to start.
type Spec struct {
	// ID is NAME.NUMBER, or only a name: letters, digits, "_", "+", "-", ".". People
	// read the name; with the number no two containers ever have the same ID.
	ID   string
	Site string

	// Lower are the layers of the image, absolute folders, top first. Upper and
	// Work are the replica's own folders, made if need be, on one file system.
	Lower        []string
	Upper, Work  string
	ReadOnlyRoot bool
	ShmSize      int64 // bytes of /dev/shm; 0: 64 MiB

	// Architectures are those besides the machine's own whose programs it may run.
	Architectures []string

	Args, Env []string
	SecretEnv []SecretVariable // besides Env
	Cwd       string           // absolute; "" means /
	User      string           // "", "name", "uid", "name:group" or "uid:gid", names by the image's passwd
	Hostname  string
	// Init has a process of fcnode's as the container's first, which reaps and passes signals on.
	Init bool

	Privileges Privileges
	Userns     bool // a user namespace of its own

	Mounts     []Mount
	ResolvConf string   // content of /etc/resolv.conf; "" leaves the image's
	Hosts      string   // content of /etc/hosts; "" leaves the image's
	Netns      *os.File // the network namespace; remains the caller's

	Limits     cgroup.Limits
	LogDir     string
	StopSignal string            // e.g. "SIGTERM", "QUIT", "3"; "" means SIGTERM
	Meta       map[string]string // kept for whoever adopts the container

	SpecDigest, ImageDigest string // for Restore: what a checkpoint must have been made with
	// RestoreWithin is how long Restore may take at the most; 0: as Options.RestoreTimeout says.
	RestoreWithin time.Duration

	initPath string // in the container, of the process that Init asks for
}

func (s *Spec) name() string { return Name(s.ID) }

// Privileges are what the processes of a container may do beyond their user.
type Privileges = wire.Privileges

var validID = regexp.MustCompile(`^[A-Za-z0-9_+.-]{1,200}$`)

// validate finds what no machine could start, all of it at once.
func (s *Spec) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, specError(format, args...)) }
	if !validID.MatchString(s.ID) || strings.Trim(s.ID, ".") == "" {
		bad("id %q: allowed are up to 200 letters, digits, _, +, - and .", s.ID)
	}
	if s.Netns == nil {
		bad("container %s has no network namespace", s.ID)
	}
	for _, err := range s.program() {
		bad("container %s: %w", s.ID, err)
	}
	absolute := func(what, path string) {
		if !filepath.IsAbs(path) {
			bad("%s %q of container %s has to be an absolute path", what, path, s.ID)
		}
	}
	if len(s.Lower) == 0 {
		bad("container %s has no root file system: its image has no layers", s.ID)
	}
	for _, dir := range s.Lower {
		absolute("layer", dir)
	}
	absolute("upper folder", s.Upper)
	absolute("work folder", s.Work)
	absolute("log folder", s.LogDir)
	for _, m := range s.Mounts {
		if !m.Tmpfs && m.NFS == nil {
			absolute("volume source", m.Source)
		}
		absolute("volume target", m.Target)
		if filepath.Clean(m.Target) == "/" {
			bad("volume %s of container %s cannot be mounted over the whole root", m.Source, s.ID)
		}
	}
	if err := s.Limits.Validate(); err != nil {
		bad("container %s: %w", s.ID, err)
	}
	return errors.Join(errs...)
}

// The signals of the kernel, and the first that programs may use as they like, of
// glibc and musl.
const (
	maxSignal = 64
	rtmin     = 34
)

// program finds what no program could be started with, in what the site and its
// image say of it.
func (s *Spec) program() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(s.Args) == 0 || s.Args[0] == "" {
		bad("it has nothing to execute: neither the site nor its image names a command; set command in the spec")
	}
	if slices.ContainsFunc(s.Args, func(arg string) bool { return strings.ContainsRune(arg, 0) }) {
		bad("its command %q has a NUL byte", s.Args)
	}
	for _, variable := range s.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" || strings.ContainsRune(variable, 0) {
			bad("%q in its environment is no NAME=value", variable)
		}
	}
	if s.Cwd != "" && !filepath.IsAbs(s.Cwd) {
		bad("its working folder %q has to be an absolute path; set workdir in the spec", s.Cwd)
	}
	if _, err := parseSignal(s.StopSignal); err != nil {
		bad("its stop signal: %w; set stop.signal in the spec", err)
	}
	return errs
}

func parseSignal(name string) (unix.Signal, error) {
	if name == "" {
		return unix.SIGTERM, nil
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > maxSignal {
			return 0, fmt.Errorf("signal %d: allowed are 1 to %d", n, maxSignal)
		}
		return unix.Signal(n), nil
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	if offset, ok := strings.CutPrefix(full, "SIGRTMIN+"); ok { // as in images of systemd
		if n, err := strconv.Atoi(offset); err == nil && n >= 0 && rtmin+n <= maxSignal {
			return unix.Signal(rtmin + n), nil
		}
	}
	if offset, ok := strings.CutPrefix(full, "SIGRTMAX-"); ok {
		if n, err := strconv.Atoi(offset); err == nil && n >= 0 && maxSignal-n >= rtmin {
			return unix.Signal(maxSignal - n), nil
		}
	}
	if sig := unix.SignalNum(full); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("%q is no signal: give a name such as SIGTERM or a number", name)
}

// Step is a moment of a start, as the time since Start was called.
type Step struct {
	Name  string        `json:"name"`
	After time.Duration `json:"after"`
}

// Timing says where the time of a start went.
type Timing struct {
	Started int64  `json:"started"` // CLOCK_MONOTONIC in ns, when Start was called
	Steps   []Step `json:"steps"`
}

func (t *Timing) add(name string, at int64) {
	t.Steps = append(t.Steps, Step{Name: name, After: time.Duration(at - t.Started)})
}

// ExitStatus is how a container ended.
type ExitStatus struct {
	Code      int       // of the program; 128+n when signal n ended it; -1 when unknown
	Signal    string    // e.g. "SIGKILL"; "" when it ended by itself
	OOMKilled bool      // the kernel killed in the container for lack of memory
	At        time.Time // when it was noticed
	// MonitorLost means that the shim was killed: the container was ended for
	// it, and its exit code is unknown.
	MonitorLost bool
	Failed      string // why it could not go on, if it is that
}
