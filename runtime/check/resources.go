package check

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/internal/meminfo"
)

// usedControllers are those by which fcnode limits sites.
var usedControllers = []string{"cpu", "memory", "pids", "io", "cpuset"}

func (c *checker) cgroups() {
	const name, why = "cgroup v2", "readiness of containers is seen, and their limits are set, through it"
	offered, err := c.m.Mountable("cgroup2")
	if err != nil {
		c.failed(name, Fail, err, why, "use a kernel with CONFIG_CGROUPS and the right to mount cgroup2")
		return
	}
	host, err := c.m.Cgroup()
	if err != nil {
		c.failed(name, Fail, err, why, "see the message")
		return
	}
	found := "mounted at " + cgroup.Mountpoint
	if !host.Unified {
		found = "not mounted at " + cgroup.Mountpoint + "; fcnode mounts it for itself"
	}
	c.add(name, OK, found, why, "")
	for _, controller := range usedControllers {
		if !slices.Contains(offered, controller) {
			continue
		}
		c.add("cgroup: "+controller, OK, "available", "fcnode limits sites through it", "")
	}
	c.memoryMax(offered)
	for _, l := range host.Lacks {
		if !slices.Contains(offered, l.Controller) {
			c.add("cgroup: "+l.Controller, Warn, "not available: "+l.Why, "without it fcnode cannot limit "+l.Limits, l.Remedy)
		}
	}
}

func (c *checker) links() {
	const veth = "links: veth"
	if err := c.m.LinkKind("veth"); err != nil {
		c.failed(veth, Fail, err, "each replica is reached through one", "use a kernel with CONFIG_VETH")
	} else {
		c.add(veth, OK, "available", "each replica is reached through one", "")
	}
	const device, why = "links: dummy or ifb", "the device that takes the packets for all sites is one"
	var failures []error
	for _, kind := range []string{"dummy", "ifb"} {
		err := c.m.LinkKind(kind)
		if err == nil {
			c.add(device, OK, kind+" is available", why, "")
			return
		}
		failures = append(failures, fmt.Errorf("%s: %w", kind, err))
	}
	c.failed(device, Fail, fmt.Errorf("%w; %w", failures[0], failures[1]), why, "use a kernel with CONFIG_DUMMY or CONFIG_IFB")
}

// forwarding matters to visitors from outside only, that is, with uplinks.
func (c *checker) forwarding() {
	const why = "packets of visitors from outside are routed to the sites"
	for _, family := range []struct {
		name, key string
		v4        bool
	}{
		{"forwarding: IPv4", "net.ipv4.ip_forward", true},
		{"forwarding: IPv6", "net.ipv6.conf.all.forwarding", false},
	} {
		used := slices.ContainsFunc(c.cfg.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == family.v4 })
		if !used {
			continue
		}
		text, err := c.m.ReadFile("/proc/sys/" + strings.ReplaceAll(family.key, ".", "/"))
		switch on := strings.TrimSpace(string(text)) == "1"; {
		case err != nil:
			c.add(family.name, Warn, err.Error(), why, "use a kernel with this family of addresses, or take its prefix out of the configuration")
		case on:
			c.add(family.name, OK, "on", why, "")
		case len(c.cfg.Uplinks) == 0:
			c.add(family.name, OK, "off, and no uplinks are configured: sites answer on this machine only", why, "")
		default:
			c.add(family.name, Warn, "off", why, fmt.Sprintf("sysctl -w %s=1, and a line in /etc/sysctl.d to keep it", family.key))
		}
	}
}

func (c *checker) overlay() {
	const name, why = "overlayfs", "the root of a container is its image with a writable layer above"
	if _, err := c.m.Mountable("overlay"); err != nil {
		c.failed(name, Fail, err, why, "use a kernel with CONFIG_OVERLAY_FS")
		return
	}
	c.add(name, OK, "available", why, "")
}

// fsNames are the file systems worth a word, by magic number; bad ones cannot
// hold the writable layers.
var fsNames = map[int64]struct {
	name string
	bad  bool
}{
	unix.EXT4_SUPER_MAGIC:      {"ext4", false},
	unix.XFS_SUPER_MAGIC:       {"xfs", false},
	unix.BTRFS_SUPER_MAGIC:     {"btrfs", false},
	unix.F2FS_SUPER_MAGIC:      {"f2fs", false},
	unix.TMPFS_MAGIC:           {"tmpfs", false},
	unix.OVERLAYFS_SUPER_MAGIC: {"overlayfs", true},
	unix.NFS_SUPER_MAGIC:       {"nfs", true},
	unix.FUSE_SUPER_MAGIC:      {"fuse", true},
	unix.V9FS_MAGIC:            {"9p", true},
	unix.CIFS_SUPER_MAGIC:      {"cifs", true},
	unix.MSDOS_SUPER_MAGIC:     {"vfat", true},
}

// nfsType is the file system of volumes by NFS.
const nfsType = "nfs4"

// nfs looks for the kernel's client, where sites may have such volumes.
func (c *checker) nfs() {
	const name, why = "NFS", "volumes by NFS are mounted by the kernel (nfsRoots)"
	if len(c.cfg.NFSRoots) == 0 {
		return
	}
	if _, err := c.m.Mountable(nfsType); err != nil {
		c.failed(name, Warn, err, why, "use a kernel with the module nfsv4, as Debian's has; sites with such volumes do not start")
		return
	}
	found := "available"
	if c.cfg.Privileges.Userns == config.UsernsRequired {
		c.add(name, Warn, found, why, "sites with such volumes need userns: host, which privileges.userns: required forbids")
		return
	}
	c.add(name, OK, found+"; sites with such volumes need userns: host", why, "")
}

// userns looks at the folders that sites with a user namespace of their own need.
// Without the state folder no site can have one; a spec may do without a volume
// root, or say userns: host.
func (c *checker) userns() {
	const why = "a site with a user namespace of its own sees its image and volumes through mapped owners"
	remedy := "use a newer kernel or another file system there, or userns: host in the specs of sites that need it; fcnode apply refuses what cannot be"
	switch c.cfg.Privileges.Userns {
	case config.UsernsPrivate:
		remedy += "; privileges.userns: host in the node's configuration makes that the default"
	case config.UsernsRequired:
		remedy = "use a newer kernel or another file system there, or privileges.userns: private in the node's configuration, and userns: host in the specs of sites that need it"
	}
	for _, dir := range append([]string{c.cfg.StateDir}, c.cfg.VolumeRoots...) {
		name := "user namespaces: " + dir
		if err := c.m.Mapped(dir); err != nil {
			level := Warn
			if dir == c.cfg.StateDir && c.cfg.Privileges.OwnUsernsByDefault() {
				level = Fail
			}
			c.failed(name, level, err, why, remedy)
			continue
		}
		c.add(name, OK, "owners can be mapped", why, "")
	}
}

func (c *checker) stateFS() {
	name, why := "state folder", "images and the writable layers of containers lie there"
	remedy := "mount ext4, xfs or btrfs there, or set stateDir to a folder on one"
	magic, err := c.m.FSType(c.cfg.StateDir)
	if err != nil {
		c.add(name, Fail, err.Error(), why, remedy)
		return
	}
	fs, known := fsNames[magic]
	if !known {
		fs.name = fmt.Sprintf("a file system of type %#x", magic)
	}
	found := c.cfg.StateDir + " on " + fs.name
	switch {
	case fs.bad:
		c.add(name, Fail, found, why+"; overlayfs cannot write to this kind", remedy)
	case magic == unix.TMPFS_MAGIC:
		c.add(name, Warn, found, why+"; all is lost at the next boot", remedy)
	default:
		c.add(name, OK, found, why, "")
	}
}

// quotas says by what means limits.disk holds. There is always one.
func (c *checker) quotas() {
	const name, why = "limits.disk", "how much a site may keep on disk, if its spec says so"
	found := "by project quota of " + c.cfg.StateDir
	if err := c.m.ProjectQuotas(c.cfg.StateDir); err != nil {
		found = "watched, and who has more is stopped: " + err.Error() + " (ext4 with the feature project, and xfs, have them when mounted with prjquota)"
	}
	c.add(name, OK, found, why, "")
}

// programs are those that the daemon starts; package container expects the others
// beside the runner.
func (c *checker) programs() {
	for _, p := range []struct{ name, path, why string }{
		{"runner", c.cfg.Runner, "this program makes the containers"},
		{"shim", filepath.Join(filepath.Dir(c.cfg.Runner), "fcnode-shim"), "this program waits for a container and starts its monitor"},
		{"monitor", filepath.Join(filepath.Dir(c.cfg.Runner), "fcnode-monitor"), "this program stays with each container and writes its logs"},
	} {
		if err := c.m.Executable(p.path); err != nil {
			c.add(p.name, Fail, err.Error(), p.why,
				"install fcnode-runner, fcnode-shim and fcnode-monitor beside fcnode (`make install` does), or set runner in the configuration")
			continue
		}
		c.add(p.name, OK, p.path, p.why, "")
	}
}

func (c *checker) group() {
	const name, why = "group of the socket", "its members may use the API besides root"
	if c.cfg.SocketGroup == "" {
		c.add(name, OK, "none configured: root only", why, "")
		return
	}
	if err := c.m.Group(c.cfg.SocketGroup); err != nil {
		c.add(name, Warn, err.Error(), why, "groupadd --system "+c.cfg.SocketGroup)
		return
	}
	c.add(name, OK, c.cfg.SocketGroup, why, "")
}

func (c *checker) memory() {
	const name, why = "memory and swap", "pages of sites that nobody visits can leave the memory only for swap"
	text, err := c.m.ReadFile(meminfo.Path)
	if err != nil {
		c.add(name, Warn, err.Error(), why, "mount /proc")
		return
	}
	info := meminfo.Parse(string(text))
	found := fmt.Sprintf("%s of memory, %s available", gib(info["MemTotal"]), gib(info["MemAvailable"]))
	swaps, err := c.m.ReadFile("/proc/swaps")
	if err != nil || info["SwapTotal"] == 0 {
		c.add(name, Warn, found+", no swap", why, "set up zram (package systemd-zram-generator) or a swap file")
		return
	}
	kind := "swap"
	if strings.Contains(string(swaps), "/zram") {
		kind = "swap in zram"
	}
	c.add(name, OK, fmt.Sprintf("%s, %s %s", found, gib(info["SwapTotal"]), kind), why, "")
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func (c *checker) criu() {
	const name, why = "criu", "optional: without it sites do not sleep as images on disk"
	found, err := c.m.CRIU(c.cfg.Checkpoints.CRIU)
	switch {
	case err == nil:
		c.add(name, OK, found, why, "")
	case c.unprivileged:
		c.failed(name, Warn, err, why, "")
	default:
		c.add(name, Warn, err.Error(), why, "get one that works here by packaging/criu.sh (make deps), or forbid the tier checkpointed")
	}
}

// memoryMax tells of the bound on all sites, if the kernel is to have one.
func (c *checker) memoryMax(offered []string) {
	const name, why = "memory of all sites", "memory.max of the configuration bounds what they have together"
	switch most := c.cfg.Memory.Max; {
	case most == 0:
	case slices.Contains(offered, "memory"):
		c.add(name, OK, most.String()+" at most", why, "")
	default:
		c.add(name, Fail, "cannot be bounded without the memory controller", why, "see cgroup: memory, or take memory.max out of the configuration")
	}
}
