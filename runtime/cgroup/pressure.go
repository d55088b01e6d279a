package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Resource is what processes wait for.
type Resource string

// The resources whose lack the kernel tells.
const (
	CPU    Resource = "cpu"
	Memory Resource = "memory"
	IO     Resource = "io"
)

// The kernel's bounds of a window, and the step of those that it gives to
// processes without CAP_SYS_RESOURCE.
const (
	minWindow        = 500 * time.Millisecond
	maxWindow        = 10 * time.Second
	unprivilegedStep = 2 * time.Second
)

// Pressure is a trigger: its descriptor has POLLPRI, once in a window at most,
// when some processes of the group have waited for the resource for a given
// part of the window. The kernel watches; nothing is polled.
type Pressure struct {
	Resource Resource
	// Stall and Window are those that the kernel has taken, see
	// [Group.Pressure].
	Stall, Window time.Duration

	file *os.File
}

// Pressure sets a trigger: stall, waited for within window. The window is 0.5 s
// to 10 s; where the kernel wants multiples of 2 s of us, as we lack
// CAP_SYS_RESOURCE, both grow in proportion. ErrNoController: this kernel tells
// no pressure.
func (g *Group) Pressure(r Resource, stall, window time.Duration) (*Pressure, error) {
	if window < minWindow || window > maxWindow || stall <= 0 || stall > window {
		return nil, fmt.Errorf("pressure of %v within %v: allowed are windows of %v to %v, and parts of them", stall, window, minWindow, maxWindow)
	}
	name := filepath.Join(g.Path(), string(r)+".pressure")
	// Not O_NONBLOCK: the Go runtime would poll it too, and take the event
	// away.
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
		if _, gone := os.Stat(g.Path()); gone == nil {
			return nil, noPressure(r)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	p := &Pressure{Resource: r, Stall: stall, Window: window, file: os.NewFile(uintptr(fd), name)}
	err = setTrigger(fd, stall, window)
	if errors.Is(err, unix.EINVAL) {
		p.Window = (window + unprivilegedStep - 1).Truncate(unprivilegedStep)
		p.Stall = time.Duration(float64(stall) * float64(p.Window) / float64(window))
		err = setTrigger(fd, p.Stall, p.Window)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errors.Join(noPressure(r), p.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set a trigger in %s: %w", name, err), p.Close())
	}
	return p, nil
}

// setTrigger writes one trigger; there is one in each open file.
func setTrigger(fd int, stall, window time.Duration) error {
	_, err := unix.Write(fd, fmt.Appendf(nil, "some %d %d\x00", stall.Microseconds(), window.Microseconds()))
	return err
}

func noPressure(r Resource) error {
	return &ControllerError{Lack{
		Controller: "pressure", Limits: fmt.Sprintf("by what the kernel tells of waiting for %s", r),
		Why: "this kernel does not tell pressure (PSI)", Remedy: "boot with psi=1, on a kernel with CONFIG_PSI",
	}}
}

// Fd is the descriptor to poll for POLLPRI. POLLERR means that the group is
// gone.
func (p *Pressure) Fd() int { return int(p.file.Fd()) }

// Close removes the trigger.
func (p *Pressure) Close() error { return p.file.Close() }
