package check

import (
	"net/netip"
	"slices"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/apparmor"
	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/config"
)

// Status of a finding.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // fcnode runs, but something is missing or could not be found out
	Fail Status = "fail" // fcnode cannot run, or not with this configuration
)

// Finding is the result of looking at one thing.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what there is.
	Found string `json:"found"`
	// Why it matters to fcnode.
	Why string `json:"why"`
	// Remedy is what to do; empty when all is well.
	Remedy string `json:"remedy,omitempty"`
}

// Report is the result of a whole check.
type Report struct {
	// OK: nothing that fcnode needs is missing.
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// Count says how many findings have the status.
func (r Report) Count(s Status) int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Machine is what is looked at.
type Machine interface {
	// Release of the kernel, as uname -r says.
	Release() (string, error)
	// UID is the effective user.
	UID() int
	// Capabilities are the effective ones of this process, one bit each.
	Capabilities() (uint64, error)
	// ReadFile reads a file of /proc or /sys.
	ReadFile(path string) ([]byte, error)
	// Executable returns nil if there is a program at the path.
	Executable(path string) error
	// CRIU describes the one that works here: the configured program, or the
	// first of the usual places; criu.ErrUnavailable where there is none.
	CRIU(configured string) (string, error)
	// Group returns nil if there is a group of this name.
	Group(name string) error
	// FSType gives the magic number of the file system at the path, or at the
	// nearest folder above it that exists.
	FSType(path string) (int64, error)
	// Mapped returns nil if what lies at the path, or at the nearest folder above
	// it that exists, can be mounted with mapped owners.
	Mapped(path string) error
	// ProjectQuotas returns nil if the file system at the path, or at the nearest
	// folder above it that exists, enforces them.
	ProjectQuotas(path string) error
	// Mountable returns nil if the kernel can mount this kind of file system,
	// and for cgroup2 the controllers that it offers.
	Mountable(fstype string) (controllers []string, err error)
	// AppArmor says whether the kernel has it, and whether fcnode's profile is or
	// can be loaded.
	AppArmor() (has apparmor.Profiles, loaded bool)
	// NFTables returns nil if tables of nftables that rewrite addresses can be made.
	NFTables() error
	// Firewall lists where packets of sites may be dropped.
	Firewall(device string, prefixes []netip.Prefix) ([]netctl.FirewallChain, error)
	// LinkKind returns nil if links of this kind can be made.
	LinkKind(kind string) error
	// Cgroup describes the hierarchy that is mounted.
	Cgroup() (cgroup.Host, error)
	// BPF asks the kernel for the features of BPF.
	BPF() []bpf.Feature
}

// Run looks at everything. cfgErr, if the configuration could not be read,
// becomes a finding; cfg is then the default one.
func Run(m Machine, cfg config.Config, cfgErr error) Report {
	c := checker{m: m, cfg: cfg}
	c.configuration(cfgErr)
	c.kernel()
	c.rights()
	c.bpf()
	c.bpffs()
	c.cgroups()
	c.links()
	c.forwarding()
	c.names()
	c.egress()
	c.cookies()
	c.firewall()
	c.overlay()
	c.stateFS()
	c.quotas()
	c.userns()
	c.nfs()
	c.seccomp()
	c.appArmor()
	c.programs()
	c.group()
	c.memory()
	c.criu()
	failed := slices.ContainsFunc(c.found, func(f Finding) bool { return f.Status == Fail })
	return Report{OK: !failed, Findings: c.found}
}

type checker struct {
	m     Machine
	cfg   config.Config
	found []Finding
	// unprivileged: what needs rights cannot be found out.
	unprivileged bool
}

func (c *checker) add(name string, status Status, found, why, remedy string) {
	if status == OK {
		remedy = ""
	}
	c.found = append(c.found, Finding{Name: name, Status: status, Found: found, Why: why, Remedy: remedy})
}

const asRoot = "run the check as root: sudo fcnode check"

// failed adds a finding about something that was tried and did not work.
// Without rights that says nothing about the machine.
func (c *checker) failed(name string, status Status, err error, why, remedy string) {
	if c.unprivileged {
		c.add(name, Warn, "unknown without rights: "+err.Error(), why, asRoot)
		return
	}
	c.add(name, status, err.Error(), why, remedy)
}
