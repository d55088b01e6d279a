package check

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fcnode/fcnode/runtime/config"
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
)

// The oldest kernel on which the programs can load, and the oldest one that is
// tested.
var (
	oldestPossible  = version{5, 14}
	oldestSupported = version{6, 1}
)

type version struct{ major, minor int }

func (v version) before(o version) bool {
	return v.major < o.major || v.major == o.major && v.minor < o.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (c *checker) configuration(err error) {
	const why = "the daemon does not start with a configuration that it cannot read"
	if err != nil {
		c.add("configuration", Fail, err.Error(), why, "correct the file, or name another one with --config")
		return
	}
	c.add("configuration", OK, "valid", why, "")
}

func (c *checker) kernel() {
	const name, why = "kernel", "the data path is made of BPF programs of this kernel"
	release, err := c.m.Release()
	if err != nil {
		c.add(name, Warn, err.Error(), why, "see whether uname -r works")
		return
	}
	var v version
	if _, err := fmt.Sscanf(release, "%d.%d", &v.major, &v.minor); err != nil {
		c.add(name, Warn, release+" (no number to compare)", why, fmt.Sprintf("use Linux %s or newer", oldestSupported))
		return
	}
	switch remedy := fmt.Sprintf("use Linux %s or newer (Debian 12 has it)", oldestSupported); {
	case v.before(oldestPossible):
		c.add(name, Fail, release+", too old", why, remedy)
	case v.before(oldestSupported):
		c.add(name, Warn, release+", older than what fcnode is tested on", why, remedy)
	default:
		c.add(name, OK, release, why, "")
	}
}

// right is a capability that fcnode uses.
type right struct {
	capability.Cap
	use string
}

var neededCapabilities = []right{
	{capability.CAP_NET_ADMIN, "devices, routes, attaching programs"},
	{capability.CAP_NET_RAW, "putting held packets back"},
	{capability.CAP_BPF, "loading programs"},
	{capability.CAP_PERFMON, "what the programs may do"},
	{capability.CAP_SYS_ADMIN, "namespaces and mounts"},
	{capability.CAP_SYS_PTRACE, "finding replicas again after a restart"},
	{capability.CAP_SYS_CHROOT, "containers' roots"},
	{capability.CAP_MKNOD, "unpacking images"},
	{capability.CAP_CHOWN, "unpacking images"},
	{capability.CAP_FOWNER, "unpacking images"},
	{capability.CAP_DAC_OVERRIDE, "unpacking images"},
	{capability.CAP_SETUID, "users in containers"},
	{capability.CAP_SETGID, "users in containers"},
	{capability.CAP_SETPCAP, "dropping rights in containers"},
	{capability.CAP_KILL, "stopping containers"},
}

var wantedCapabilities = []right{
	{capability.CAP_SYS_RESOURCE, "raising resource limits of containers"},
}

func (c *checker) rights() {
	const name, why = "rights", "fcnode makes devices, namespaces, mounts and BPF programs"
	have, err := c.m.Capabilities()
	if err != nil {
		c.unprivileged = c.m.UID() != 0
		c.add(name, Warn, err.Error(), why, asRoot)
		return
	}
	if lacks := missing(have, neededCapabilities); len(lacks) > 0 {
		c.unprivileged = true
		remedy := "run fcnode as root: sudo fcnode check"
		if c.m.UID() == 0 {
			remedy = "this root is a restricted one: let whoever made this container or service grant the capabilities"
		}
		c.add(name, Fail, fmt.Sprintf("user %d without %s", c.m.UID(), strings.Join(lacks, ", ")), why, remedy)
		return
	}
	if lacks := missing(have, wantedCapabilities); len(lacks) > 0 {
		c.add(name, Warn, fmt.Sprintf("user %d without %s", c.m.UID(), strings.Join(lacks, ", ")),
			"sites that raise their own resource limits will fail to", "let whoever made this container or service grant the capabilities")
		return
	}
	c.add(name, OK, fmt.Sprintf("user %d with all capabilities that are used", c.m.UID()), why, "")
}

func missing(have uint64, wanted []right) []string {
	var lacks []string
	for _, w := range wanted {
		if have&(1<<w.Cap) == 0 {
			lacks = append(lacks, "CAP_"+strings.ToUpper(w.String())+" ("+w.use+")")
		}
	}
	return lacks
}

func (c *checker) bpf() {
	for _, f := range c.m.BPF() {
		name := "bpf: " + f.Name
		switch {
		case f.Err == nil:
			c.add(name, OK, "available", f.Purpose, "")
		case f.Missing() && !f.Required:
			c.add(name, OK, "not available, and not needed", f.Purpose, "")
		case f.Missing():
			c.failed(name, Fail, errors.New("not available"), f.Purpose,
				fmt.Sprintf("use Linux %s or newer, built as distributions do", f.Since))
		default:
			// An inconclusive probe: the daemon says more when it loads the
			// programs.
			c.failed(name, Warn, f.Err, f.Purpose, "if `fcnode run` cannot load its programs either, see its message")
		}
	}
}

func (c *checker) bpffs() {
	const name, why = "bpffs", "the data path is pinned there and so lives on without the daemon"
	magic, err := c.m.FSType(c.cfg.BPFFS)
	if err == nil && magic == unix.BPF_FS_MAGIC {
		c.add(name, OK, "mounted at "+c.cfg.BPFFS, why, "")
		return
	}
	if _, err := c.m.Mountable("bpf"); err != nil {
		c.failed(name, Fail, err, why, "use a kernel with CONFIG_BPF_SYSCALL")
		return
	}
	c.add(name, OK, "not mounted at "+c.cfg.BPFFS+"; the daemon mounts it", why, "")
}

func (c *checker) seccomp() {
	const name, path = "seccomp", "/proc/sys/kernel/seccomp/actions_avail"
	const why = "containers run under a filter of system calls"
	if _, err := c.m.ReadFile(path); err != nil {
		c.add(name, Fail, err.Error(), why, "use a kernel with CONFIG_SECCOMP_FILTER")
		return
	}
	c.add(name, OK, "available", why, "")
}

func (c *checker) cookies() {
	const name, path = "SYN cookies", "/proc/sys/net/ipv4/tcp_syncookies"
	const why = "by them clients prove their address before they wake a site (wake.proof)"
	_, err := c.m.ReadFile(path)
	const remedy = "use a kernel with CONFIG_SYN_COOKIES, or set wake: {proof: off}, with which a flood of forged sources wakes sites"
	switch mode := bpf.Proof(c.cfg.Wake.Proof); {
	case mode == bpf.ProofOff:
		c.add(name, OK, "not used (wake.proof)", why, "")
	case err == nil:
		c.add(name, OK, "available", why, "")
	case mode == bpf.ProofAlways:
		c.add(name, Fail, err.Error(), why, remedy)
	default:
		c.add(name, Warn, err.Error(), why, remedy)
	}
}

func (c *checker) appArmor() {
	const name, why = "AppArmor", "sites run under a profile, which holds what gets past namespaces, mounts and the filter of system calls"
	has, loaded := c.m.AppArmor()
	mode := c.cfg.Privileges.AppArmor
	status, without := Warn, "; sites run without a profile"
	if mode == config.AppArmorRequired {
		status, without = Fail, "; no site starts (privileges.apparmor: required)"
	}
	switch {
	case mode == config.AppArmorUnconfined:
		c.add(name, OK, "sites have a profile only if their specs say so (privileges.apparmor: unconfined)", why, "")
	case loaded:
		c.add(name, OK, "profile "+has.Own+" is loaded", why, "")
	case has.Own != "":
		c.add(name, OK, "the daemon loads profile "+has.Own+" when it starts", why, "")
	case has.Lack != nil:
		c.failed(name, status, fmt.Errorf("%w%s", has.Lack, without), why, "apt install apparmor, and restart fcnode; its event not-confined says what else may be wrong")
	case status == Fail:
		c.add(name, Fail, "the kernel has none, or it is switched off"+without, why, "boot with apparmor=1 security=apparmor, or set privileges.apparmor to default")
	default:
		c.add(name, OK, "the kernel has none, or it is switched off"+without, why, "")
	}
}
