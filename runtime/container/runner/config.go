//go:build linux

package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"
)

// capabilities are what container runtimes leave to a container by default.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// maskPaths are hidden: they tell of the machine, or let it be disturbed.
var maskPaths = []string{
	"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// template is the part of a configuration that no request changes.
type template struct {
	seccomp *configs.Seccomp
	devices []*devices.Device
	mounts  []*configs.Mount
}

func newTemplate() (*template, error) {
	filter, err := seccompFilter()
	if err != nil {
		return nil, err
	}
	t := &template{seccomp: filter, mounts: systemMounts()}
	for _, d := range specconv.AllowedDevices {
		if d.Path != "" {
			t.devices = append(t.devices, d)
		}
	}
	return t, nil
}

// systemMounts are those of every container.
func systemMounts() []*configs.Mount {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	return []*configs.Mount{
		{Source: "proc", Device: "proc", Destination: "/proc", Flags: quiet},
		{Source: "tmpfs", Device: "tmpfs", Destination: "/dev", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Source: "devpts", Device: "devpts", Destination: "/dev/pts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{Source: "shm", Device: "tmpfs", Destination: "/dev/shm", Flags: quiet, Data: "mode=1777,size=65536k"},
		{Source: "mqueue", Device: "mqueue", Destination: "/dev/mqueue", Flags: quiet},
		{Source: "sysfs", Device: "sysfs", Destination: "/sys", Flags: quiet | unix.MS_RDONLY},
		{Source: "cgroup", Device: "cgroup", Destination: "/sys/fs/cgroup", Flags: quiet | unix.MS_RELATIME | unix.MS_RDONLY},
	}
}

// config makes libcontainer's configuration of the container.
func (s *start) config(u *user) *configs.Config {
	score := 0
	t := s.prep.template
	return &configs.Config{
		Rootfs:          s.req.Rootfs,
		Readonlyfs:      s.req.ReadOnlyRoot,
		RootPropagation: unix.MS_SLAVE | unix.MS_REC,
		Hostname:        s.req.Hostname,
		Namespaces: configs.Namespaces{
			{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
			// The runner's own number: init opens it while it still sees this /proc.
			{Type: configs.NEWNET, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.netns.Fd())},
		},
		Capabilities:    capabilitiesFor(u.uid),
		NoNewPrivileges: true,
		NoNewKeyring:    false,
		OomScoreAdj:     &score,
		Seccomp:         t.seccomp,
		MaskPaths:       maskPaths,
		ReadonlyPaths:   readonlyPaths,
		Devices:         t.devices,
		Mounts:          s.mounts(),
		// Programs for port 80 that drop root first need no capability in their own network namespace.
		Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		// See the package comment. The name is one that does not exist.
		Cgroups: &cgroups.Cgroup{Name: "left-alone", Rootless: true, Resources: &cgroups.Resources{}},
	}
}

// capabilitiesFor gives all to root and, as container runtimes do, none to
// others; they stay in the bounding set, which no_new_privs makes moot.
func capabilitiesFor(uid int) *configs.Capabilities {
	c := &configs.Capabilities{Bounding: capabilities}
	if uid == 0 {
		c.Effective, c.Permitted = capabilities, capabilities
	}
	return c
}

func (s *start) mounts() []*configs.Mount {
	mounts := append([]*configs.Mount{}, s.prep.template.mounts...)
	for _, f := range madeFiles {
		if f.content(s.req) != "" {
			mounts = append(mounts, bind(filepath.Join(s.req.Dir, f.name), f.target, false))
		}
	}
	for _, m := range s.req.Mounts {
		mounts = append(mounts, bind(m.Source, m.Target, m.ReadOnly))
	}
	return mounts
}

func bind(source, target string, readOnly bool) *configs.Mount {
	m := &configs.Mount{
		Source: source, Destination: "/" + strings.TrimPrefix(target, "/"), Device: "bind",
		Flags: unix.MS_BIND | unix.MS_REC, PropagationFlags: []int{unix.MS_SLAVE | unix.MS_REC},
	}
	if readOnly {
		m.Flags |= unix.MS_RDONLY
	}
	return m
}
