package cgroup

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// deviceRules are the device nodes that containers may use, the list of
// container runtimes everywhere: node creation for all, as it is harmless
// without access, and access to the nodes of a container's /dev.
func deviceRules() []specs.LinuxDeviceCgroup {
	rule := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}
	}
	// What no rule allows is refused. -1 is every number.
	return []specs.LinuxDeviceCgroup{
		rule("c", -1, -1, "m"),
		rule("b", -1, -1, "m"),
		rule("c", 1, 3, "rwm"),    // null
		rule("c", 1, 5, "rwm"),    // zero
		rule("c", 1, 7, "rwm"),    // full
		rule("c", 1, 8, "rwm"),    // random
		rule("c", 1, 9, "rwm"),    // urandom
		rule("c", 5, 0, "rwm"),    // tty
		rule("c", 5, 1, "rwm"),    // console
		rule("c", 5, 2, "rwm"),    // ptmx
		rule("c", 136, -1, "rwm"), // pts/*
	}
}

// ensureDeviceFilter attaches the device filter to the cgroup dir, once: it
// holds for all cgroups below, so that a start does not pay for it. The kernel
// keeps it for as long as the cgroup lives; what an earlier daemon attached is
// recognised by its program tag.
func ensureDeviceFilter(dir string) error {
	insts, license, err := cgroup2.DeviceFilter(deviceRules())
	if err != nil {
		return fmt.Errorf("compile the device filter: %w", err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "fcnode_devices", Type: ebpf.CGroupDevice, Instructions: insts, License: license,
	})
	if err != nil {
		return fmt.Errorf("load the device filter of replicas: %w; it needs CONFIG_CGROUP_BPF and CAP_BPF", err)
	}
	defer prog.Close() // the cgroup holds it
	info, err := prog.Info()
	if err != nil {
		return fmt.Errorf("read the device filter back: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the cgroup for the device filter: %w", err)
	}
	defer f.Close() // read only
	if attached, err := filterAttached(f, info.Tag); err != nil || attached {
		return err
	}
	err = link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: int(f.Fd()), Program: prog, Attach: ebpf.AttachCGroupDevice, Flags: unix.BPF_F_ALLOW_MULTI,
	})
	if err != nil {
		return fmt.Errorf("attach the device filter to %s: %w", dir, err)
	}
	return nil
}

func filterAttached(dir *os.File, tag string) (bool, error) {
	res, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil {
		return false, fmt.Errorf("ask for the device filters of %s: %w", dir.Name(), err)
	}
	for _, p := range res.Programs {
		prog, err := ebpf.NewProgramFromID(p.ID)
		if errors.Is(err, os.ErrNotExist) {
			continue // detached in the meantime
		}
		if err != nil {
			return false, fmt.Errorf("open device filter %d of %s: %w", p.ID, dir.Name(), err)
		}
		info, err := prog.Info()
		_ = prog.Close() // only looked at
		if err != nil {
			return false, fmt.Errorf("read device filter %d of %s: %w", p.ID, dir.Name(), err)
		}
		if info.Tag == tag {
			return true, nil
		}
	}
	return false, nil
}
