package check

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
	"github.com/fcnode/fcnode/runtime/volume"
)

// machine is a Machine made of values; the zero value of a field is what a good
// one has.
type machine struct {
	release     string
	uid         int
	noCaps      uint64 // capabilities that are missing
	files       map[string]string
	noProgram   string
	noCRIU      bool
	noMapping   string
	quotas      error // none
	appArmor    apparmor.Profiles
	notLoaded   bool
	noGroup     bool
	noNFT       error
	firewall    []netctl.FirewallChain
	noFirewall  error
	fs          map[string]int64
	controllers []string
	unmountable map[string]error
	noLink      map[string]error
	host        cgroup.Host
	features    []bpf.Feature
}

// good is a machine on which everything is well.
func good() *machine {
	return &machine{
		release: "6.12.9-amd64",
		files: map[string]string{
			"/proc/sys/net/ipv4/ip_forward":          "1\n",
			"/proc/sys/net/ipv6/conf/all/forwarding": "1\n",
			"/proc/sys/net/ipv4/tcp_syncookies":      "1\n",
			"/proc/sys/kernel/seccomp/actions_avail": "kill errno allow\n",
			"/proc/meminfo":                          "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 2097152 kB\n",
			"/etc/resolv.conf":                       "nameserver 192.0.2.53\n",
			"/proc/swaps":                            "Filename Type\n/dev/zram0 partition\n",
		},
		fs:          map[string]int64{"/sys/fs/bpf": unix.BPF_FS_MAGIC, "/var/lib/fcnode": unix.EXT4_SUPER_MAGIC},
		controllers: []string{"cpu", "io", "memory", "pids"},
		host:        cgroup.Host{Unified: true, Controllers: []string{"cpu", "io", "memory", "pids"}},
		appArmor:    apparmor.Profiles{Own: "fcnode-site-1"},
		features: []bpf.Feature{
			{Name: "ring buffer", Since: "5.8", Required: true, Purpose: "events"},
			{Name: "tcx", Since: "6.6", Purpose: "attachment by links"},
		},
	}
}

func (m *machine) Release() (string, error)      { return m.release, nil }
func (m *machine) UID() int                      { return m.uid }
func (m *machine) Capabilities() (uint64, error) { return ^uint64(0) &^ m.noCaps, nil }
func (m *machine) BPF() []bpf.Feature            { return m.features }
func (m *machine) Cgroup() (cgroup.Host, error)  { return m.host, nil }
func (m *machine) NFTables() error               { return m.noNFT }
func (m *machine) Firewall(string, []netip.Prefix) ([]netctl.FirewallChain, error) {
	return m.firewall, m.noFirewall
}
func (m *machine) LinkKind(kind string) error { return m.noLink[kind] }

func (m *machine) ReadFile(path string) ([]byte, error) {
	if text, ok := m.files[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (m *machine) Executable(path string) error {
	if m.noProgram == path {
		return fmt.Errorf("stat %s: %w", path, fs.ErrNotExist)
	}
	return nil
}

func (m *machine) CRIU(string) (string, error) {
	if m.noCRIU {
		return "", fmt.Errorf("%w: it is not installed", criu.ErrUnavailable)
	}
	return "criu 4.2.1", nil
}

func (m *machine) Group(name string) error {
	if m.noGroup {
		return fmt.Errorf("no group %s", name)
	}
	return nil
}

func (m *machine) FSType(path string) (int64, error) {
	if magic, ok := m.fs[path]; ok {
		return magic, nil
	}
	return unix.EXT4_SUPER_MAGIC, nil
}

func (m *machine) AppArmor() (apparmor.Profiles, bool) {
	return m.appArmor, m.appArmor.Own != "" && !m.notLoaded
}

func (m *machine) ProjectQuotas(string) error { return m.quotas }

func (m *machine) Mapped(path string) error {
	if m.noMapping == path {
		return volume.ErrUnmapped
	}
	return nil
}

func (m *machine) Mountable(fstype string) ([]string, error) {
	if err := m.unmountable[fstype]; err != nil {
		return nil, err
	}
	if fstype == "cgroup2" {
		return m.controllers, nil
	}
	return nil, nil
}

func configuration() config.Config {
	cfg := config.Default()
	cfg.Runner = "/usr/lib/fcnode/fcnode-runner"
	cfg.Uplinks = []string{"eth0"}
	return cfg
}

func TestGoodMachine(t *testing.T) {
	report := Run(good(), configuration(), nil)
	if !report.OK || report.Count(OK) != len(report.Findings) {
		t.Errorf("a good machine has findings: %+v", report)
	}
	names := map[string]bool{}
	for _, f := range report.Findings {
		if f.Found == "" || f.Why == "" || f.Remedy != "" || names[f.Name] {
			t.Errorf("finding %+v is not complete, unique and without remedy", f)
		}
		names[f.Name] = true
	}
}

func TestFindings(t *testing.T) {
	errNone := errors.New("the kernel has none")
	tests := []struct {
		name    string
		change  func(m *machine, cfg *config.Config)
		cfgErr  error
		finding string
		status  Status
		found   string
		remedy  string
	}{
		{"configuration", nil, errors.New("fcnode.yaml:3:1: prefixs: unknown field"), "configuration", Fail, "fcnode.yaml:3:1", "correct the file"},
		{"kernel too old", func(m *machine, _ *config.Config) { m.release = "5.10.0-30-amd64" }, nil, "kernel", Fail, "5.10.0-30-amd64, too old", "Linux 6.1"},
		{"kernel untested", func(m *machine, _ *config.Config) { m.release = "5.15.1" }, nil, "kernel", Warn, "older than", "Linux 6.1"},
		{"kernel two digits", func(m *machine, _ *config.Config) { m.release = "6.10.3" }, nil, "kernel", OK, "6.10.3", ""},
		{"kernel without number", func(m *machine, _ *config.Config) { m.release = "custom" }, nil, "kernel", Warn, "custom", "Linux 6.1"},
		{"nobody", func(m *machine, _ *config.Config) { m.uid, m.noCaps = 1000, ^uint64(0) }, nil, "rights", Fail, "user 1000 without CAP_NET_ADMIN (devices", "sudo fcnode check"},
		{"restricted root", func(m *machine, _ *config.Config) { m.noCaps = 1 << unix.CAP_BPF }, nil, "rights", Fail, "CAP_BPF", "grant"},
		{"volumes on NFS", func(m *machine, _ *config.Config) { m.noMapping = "/srv" }, nil, "user namespaces: /srv", Warn, "cannot be mounted with mapped owners", "another file system"},
		{"state that cannot be mapped", func(m *machine, _ *config.Config) { m.noMapping = "/var/lib/fcnode" }, nil, "user namespaces: /var/lib/fcnode", Fail, "mapped owners", "privileges.userns: host"},
		{"state that cannot be mapped, and must be", func(m *machine, cfg *config.Config) {
			m.noMapping, cfg.Privileges.Userns = "/var/lib/fcnode", config.UsernsRequired
		}, nil, "user namespaces: /var/lib/fcnode", Fail, "mapped owners", "privileges.userns: private"},
		{"state that need not be mapped", func(m *machine, cfg *config.Config) {
			m.noMapping, cfg.Privileges.Userns = "/var/lib/fcnode", config.UsernsHost
		}, nil, "user namespaces: /var/lib/fcnode", Warn, "mapped owners", "another file system"},
		{"root without a luxury", func(m *machine, _ *config.Config) { m.noCaps = 1 << unix.CAP_SYS_RESOURCE }, nil, "rights", Warn, "CAP_SYS_RESOURCE", "grant"},
		{"required feature", func(m *machine, _ *config.Config) { m.features[0].Err = ebpf.ErrNotSupported }, nil, "bpf: ring buffer", Fail, "not available", "5.8"},
		{"optional feature", func(m *machine, _ *config.Config) { m.features[1].Err = ebpf.ErrNotSupported }, nil, "bpf: tcx", OK, "not needed", ""},
		{"inconclusive probe", func(m *machine, _ *config.Config) { m.features[0].Err = unix.ENOMEM }, nil, "bpf: ring buffer", Warn, "cannot allocate", "fcnode run"},
		{"inconclusive without rights", func(m *machine, _ *config.Config) {
			m.uid, m.noCaps, m.features[0].Err = 1000, ^uint64(0), unix.EPERM
		}, nil, "bpf: ring buffer", Warn, "unknown without rights", "sudo"},
		{"no bpffs", func(m *machine, _ *config.Config) { m.fs["/sys/fs/bpf"] = unix.SYSFS_MAGIC }, nil, "bpffs", OK, "the daemon mounts it", ""},
		{"no bpffs in the kernel", func(m *machine, _ *config.Config) {
			m.fs["/sys/fs/bpf"] = unix.SYSFS_MAGIC
			m.unmountable = map[string]error{"bpf": errNone}
		}, nil, "bpffs", Fail, "has none", "CONFIG_BPF_SYSCALL"},
		{"no cgroup2", func(m *machine, _ *config.Config) { m.unmountable = map[string]error{"cgroup2": errNone} }, nil, "cgroup v2", Fail, "has none", "CONFIG_CGROUPS"},
		{"hybrid", func(m *machine, _ *config.Config) { m.host.Unified = false }, nil, "cgroup v2", OK, "mounts it for itself", ""},
		{"controller in use by v1", func(m *machine, _ *config.Config) {
			m.controllers = []string{"cpu", "io", "pids"}
			m.host.Lacks = []cgroup.Lack{{Controller: "memory", Limits: "memory (limits.memory)", Why: "in use by cgroup v1", Remedy: "boot unified"}}
		}, nil, "cgroup: memory", Warn, "in use by cgroup v1", "boot unified"},
		{"a bound on the memory of all", func(_ *machine, cfg *config.Config) { cfg.Memory.Max = 24 << 30 }, nil, "memory of all sites", OK, "24GiB at most", ""},
		{"a bound without a controller", func(m *machine, cfg *config.Config) {
			m.controllers, cfg.Memory.Max = []string{"cpu"}, 24<<30
		}, nil, "memory of all sites", Fail, "without the memory controller", "memory.max out of"},
		{"no veth", func(m *machine, _ *config.Config) { m.noLink = map[string]error{"veth": errNone} }, nil, "links: veth", Fail, "has none", "CONFIG_VETH"},
		{"ifb for dummy", func(m *machine, _ *config.Config) { m.noLink = map[string]error{"dummy": errNone} }, nil, "links: dummy or ifb", OK, "ifb is available", ""},
		{"no device", func(m *machine, _ *config.Config) { m.noLink = map[string]error{"dummy": errNone, "ifb": errNone} }, nil, "links: dummy or ifb", Fail, "dummy: the kernel has none; ifb:", "CONFIG_DUMMY or"},
		{"no forwarding", func(m *machine, _ *config.Config) { m.files["/proc/sys/net/ipv4/ip_forward"] = "0\n" }, nil, "forwarding: IPv4", Warn, "off", "sysctl -w net.ipv4.ip_forward=1"},
		{"no forwarding, no uplinks", func(m *machine, cfg *config.Config) {
			m.files["/proc/sys/net/ipv6/conf/all/forwarding"] = "0\n"
			cfg.Uplinks = nil
		}, nil, "forwarding: IPv6", OK, "no uplinks", ""},
		{"no IPv6", func(m *machine, _ *config.Config) { delete(m.files, "/proc/sys/net/ipv6/conf/all/forwarding") }, nil, "forwarding: IPv6", Warn, "not exist", "its prefix out"},
		{"name servers", nil, nil, "name servers", OK, "192.0.2.53 (/etc/resolv.conf)", ""},
		{"a name server that only the node reaches", func(m *machine, _ *config.Config) { m.files["/etc/resolv.conf"] = "nameserver 127.0.0.1\n" }, nil, "name servers", Warn, "names none that a site can reach", "dns.servers of the configuration"},
		{"name servers of the configuration", func(m *machine, cfg *config.Config) {
			m.files["/etc/resolv.conf"] = "nameserver 127.0.0.1\n"
			cfg.DNS.Servers = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		}, nil, "name servers", OK, "192.0.2.1 (dns.servers", ""},
		{"masqueraded", nil, nil, "egress", OK, "10.77.0.0/16 and fd77:fc::/64 masquerade", ""},
		{"routed where it is public", func(_ *machine, cfg *config.Config) {
			cfg.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("fd77:fc::/64")}
		}, nil, "egress", OK, "203.0.113.0/24 routed, fd77:fc::/64 masquerade", ""},
		{"no nftables", func(m *machine, _ *config.Config) { m.noNFT = errNone }, nil, "egress", Warn, "has none", "CONFIG_NFT_MASQ"},
		{"no nftables, and none needed", func(m *machine, cfg *config.Config) { m.noNFT, cfg.Egress = errNone, "routed" }, nil, "egress", OK, "routed", ""},
		{"masquerade demanded", func(m *machine, cfg *config.Config) { m.noNFT, cfg.Egress = errNone, "masquerade" }, nil, "egress", Fail, "has none", "egress: routed"},
		{"no uplinks", func(_ *machine, cfg *config.Config) { cfg.Uplinks = nil }, nil, "egress", OK, "no uplinks", ""},
		{"no firewall", nil, nil, "firewall", OK, "no rules", ""},
		{"a firewall", func(m *machine, _ *config.Config) {
			m.firewall = []netctl.FirewallChain{{Family: "inet", Table: "filter", Name: "forward", Hook: "forward"}, {Family: "ip-legacy", Table: "filter", Hook: "forward"}}
		}, nil, "firewall", OK, "inet filter forward, ip-legacy filter", ""},
		{"a firewall that is bypassed", func(m *machine, cfg *config.Config) {
			cfg.Firewall = "bypass"
			m.firewall = []netctl.FirewallChain{{Family: "inet", Table: "filter", Name: "forward", Hook: "forward"}}
		}, nil, "firewall", Warn, "go past", "fcnode deny"},
		{"Docker's policy", func(m *machine, _ *config.Config) {
			m.firewall = []netctl.FirewallChain{{Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Refuses: []string{"ip"}, Docker: true}}
		}, nil, "firewall", Warn, "drops by default", "nft insert rule ip filter DOCKER-USER ip daddr 10.77.0.0/16 accept; nft insert rule ip filter DOCKER-USER ip saddr 10.77.0.0/16 accept"},
		{"a policy for IPv6", func(m *machine, _ *config.Config) {
			m.firewall = []netctl.FirewallChain{{Family: "inet", Table: "fw", Name: "fwd", Hook: "forward", Refuses: []string{"ip6"}}}
		}, nil, "firewall", Warn, "drops by default", "nft insert rule inet fw fwd ip6 daddr fd77:fc::/64 accept"},
		{"a firewall that nobody can read", func(m *machine, _ *config.Config) { m.noFirewall = errNone }, nil, "firewall", Warn, "has none", "nft list ruleset"},
		{"no NFS", func(m *machine, c *config.Config) {
			c.NFSRoots, m.unmountable = []string{"nfs://files/sites"}, map[string]error{"nfs4": errNone}
		}, nil, "NFS", Warn, "has none", "nfsv4"},
		{"NFS without owners", func(_ *machine, c *config.Config) {
			c.NFSRoots, c.Privileges.Userns = []string{"nfs://files/sites"}, config.UsernsRequired
		}, nil, "NFS", Warn, "available", "userns: host"},
		{"no overlayfs", func(m *machine, _ *config.Config) { m.unmountable = map[string]error{"overlay": errNone} }, nil, "overlayfs", Fail, "has none", "CONFIG_OVERLAY_FS"},
		{"state on nfs", func(m *machine, _ *config.Config) { m.fs["/var/lib/fcnode"] = unix.NFS_SUPER_MAGIC }, nil, "state folder", Fail, "on nfs", "ext4"},
		{"state in memory", func(m *machine, _ *config.Config) { m.fs["/var/lib/fcnode"] = unix.TMPFS_MAGIC }, nil, "state folder", Warn, "on tmpfs", "ext4"},
		{"quotas", func(*machine, *config.Config) {}, nil, "limits.disk", OK, "by project quota", ""},
		{"no quotas", func(m *machine, _ *config.Config) { m.quotas = errNone }, nil, "limits.disk", OK, "watched", ""},
		{"state on something", func(m *machine, _ *config.Config) { m.fs["/var/lib/fcnode"] = 0x2fc12fc1 }, nil, "state folder", OK, "0x2fc12fc1", ""},
		{"no seccomp", func(m *machine, _ *config.Config) { delete(m.files, "/proc/sys/kernel/seccomp/actions_avail") }, nil, "seccomp", Fail, "not exist", "CONFIG_SECCOMP_FILTER"},
		{"no cookies", func(m *machine, _ *config.Config) { delete(m.files, "/proc/sys/net/ipv4/tcp_syncookies") }, nil, "SYN cookies", Warn, "not exist", "CONFIG_SYN_COOKIES"},
		{"no cookies, always", func(m *machine, cfg *config.Config) {
			delete(m.files, "/proc/sys/net/ipv4/tcp_syncookies")
			cfg.Wake.Proof = string(bpf.ProofAlways)
		}, nil, "SYN cookies", Fail, "not exist", "CONFIG_SYN_COOKIES"},
		{"no cookies, off", func(m *machine, cfg *config.Config) {
			delete(m.files, "/proc/sys/net/ipv4/tcp_syncookies")
			cfg.Wake.Proof = string(bpf.ProofOff)
		}, nil, "SYN cookies", OK, "not used", ""},
		{"AppArmor", nil, nil, "AppArmor", OK, "fcnode-site-1 is loaded", ""},
		{"AppArmor before the daemon", func(m *machine, _ *config.Config) { m.notLoaded = true }, nil, "AppArmor", OK, "when it starts", ""},
		{"AppArmor without its program", func(m *machine, _ *config.Config) { m.appArmor = apparmor.Profiles{Lack: errNone} }, nil, "AppArmor", Warn, "has none; sites run without", "apt install apparmor"},
		{"AppArmor that is required", func(m *machine, cfg *config.Config) {
			m.appArmor, cfg.Privileges.AppArmor = apparmor.Profiles{Lack: errNone}, config.AppArmorRequired
		}, nil, "AppArmor", Fail, "no site starts", "apt install apparmor"},
		{"no AppArmor", func(m *machine, _ *config.Config) { m.appArmor = apparmor.Profiles{} }, nil, "AppArmor", OK, "the kernel has none", ""},
		{"no AppArmor, which is required", func(m *machine, cfg *config.Config) {
			m.appArmor, cfg.Privileges.AppArmor = apparmor.Profiles{}, config.AppArmorRequired
		}, nil, "AppArmor", Fail, "no site starts", "apparmor=1"},
		{"no AppArmor wanted", func(m *machine, cfg *config.Config) {
			m.appArmor, cfg.Privileges.AppArmor = apparmor.Profiles{Lack: errNone}, config.AppArmorUnconfined
		}, nil, "AppArmor", OK, "only if their specs say so", ""},
		{"no runner", func(m *machine, cfg *config.Config) { m.noProgram = cfg.Runner }, nil, "runner", Fail, "fcnode-runner", "make install"},
		{"no shim", func(m *machine, _ *config.Config) { m.noProgram = "/usr/lib/fcnode/fcnode-shim" }, nil, "shim", Fail, "fcnode-shim", "make install"},
		{"no monitor", func(m *machine, _ *config.Config) { m.noProgram = "/usr/lib/fcnode/fcnode-monitor" }, nil, "monitor", Fail, "fcnode-monitor", "make install"},
		{"no group", func(m *machine, _ *config.Config) { m.noGroup = true }, nil, "group of the socket", Warn, "no group fcnode", "groupadd --system fcnode"},
		{"no swap", func(m *machine, _ *config.Config) {
			m.files["/proc/meminfo"] = "MemTotal: 1048576 kB\nSwapTotal: 0 kB\n"
		}, nil, "memory and swap", Warn, "1.0 GiB of memory", "zram"},
		{"swap in zram", func(*machine, *config.Config) {}, nil, "memory and swap", OK, "2.0 GiB swap in zram", ""},
		{"no criu", func(m *machine, _ *config.Config) { m.noCRIU = true }, nil, "criu", Warn, "not installed", "packaging/criu.sh"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, cfg := good(), configuration()
			if tt.change != nil {
				tt.change(m, &cfg)
			}
			report := Run(m, cfg, tt.cfgErr)
			i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Name == tt.finding })
			if i < 0 {
				t.Fatalf("no finding %q in %+v", tt.finding, report.Findings)
			}
			f := report.Findings[i]
			if f.Status != tt.status || !strings.Contains(f.Found, tt.found) || !strings.Contains(f.Remedy, tt.remedy) || (f.Remedy == "") != (tt.status == OK) {
				t.Errorf("finding = %+v\nwant %s, found %q, remedy %q", f, tt.status, tt.found, tt.remedy)
			}
			if tt.status == Fail && report.OK {
				t.Error("the report is OK in spite of a failure")
			}
		})
	}
}

// Without any rights there is one failure, the rights; the rest is unknown, not
// broken.
func TestUnprivileged(t *testing.T) {
	m := good()
	m.uid, m.noCaps = 1000, ^uint64(0)
	m.unmountable = map[string]error{"cgroup2": unix.EPERM, "overlay": unix.EPERM}
	m.noLink = map[string]error{"veth": unix.EPERM, "dummy": unix.EPERM, "ifb": unix.EPERM}
	report := Run(m, configuration(), nil)
	if report.OK || report.Count(Fail) != 1 || report.Count(Warn) != 4 {
		t.Errorf("report = %+v", report)
	}
}
