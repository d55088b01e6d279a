package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/spec"
)

// inspected is a container as `podman inspect` and `docker inspect` print it.
type inspected struct {
	ID         string `json:"Id"`
	Name       string
	ImageName  string // podman's
	Config     inspectedConfig
	HostConfig inspectedHost
	Mounts     []struct {
		Type, Name, Source, Destination string
		RW                              bool
	}
}

type inspectedConfig struct {
	Image, User, WorkingDir, Hostname string
	Env                               []string
	Cmd                               []string
	Entrypoint                        entrypoint
	ExposedPorts                      map[string]struct{}
	StopSignal                        any
	StopTimeout                       *int
	Healthcheck                       *inspectedHealth
	Labels                            map[string]string
	Tty, OpenStdin                    bool
}

type inspectedHealth struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

type inspectedHost struct {
	PortBindings        map[string][]struct{ HostIP, HostPort string }
	NetworkMode         string
	RestartPolicy       struct{ Name string }
	CapAdd, CapDrop     []string
	SecurityOpt         []string
	DNS                 []string `json:"Dns"`
	DNSSearch           []string `json:"DnsSearch"`
	DNSOptions          []string `json:"DnsOptions"`
	ExtraHosts          []string
	Privileged          bool
	ReadonlyRootfs      bool
	Tmpfs               map[string]string
	ShmSize             int64
	Init                *bool
	Memory              int64
	MemoryReservation   int64
	NanoCPUs            int64 `json:"NanoCpus"`
	CPUQuota            int64 `json:"CpuQuota"`
	CPUPeriod           int64 `json:"CpuPeriod"`
	CpusetCpus          string
	PidsLimit           *int64
	Devices             []any
	Ulimits             []any
	Sysctls             map[string]string
	GroupAdd            []string
	Links, VolumesFrom  []string
	PidMode, IpcMode    string
	UsernsMode, UTSMode string
}

// entrypoint is a list, or with some versions of podman a string.
type entrypoint []string

// UnmarshalJSON implements json.Unmarshaler.
func (e *entrypoint) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*e = nil
		if text != "" {
			*e = strings.Fields(text)
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(e))
}

// ErrNoContainer means that a text is not what inspect prints of containers.
var ErrNoContainer = errors.New("it is not what podman or docker inspect print of a container")

// Inspected makes sites of containers, from what `podman inspect` and `docker
// inspect` print. ports are for those that expose none.
func Inspected(file string, text []byte, ports map[string][]spec.Port) (Result, error) {
	var all []inspected
	if err := json.Unmarshal(text, &all); err != nil {
		var one inspected
		if json.Unmarshal(text, &one) != nil {
			return Result{}, fmt.Errorf("read %s: %w: %w", file, ErrNoContainer, err)
		}
		all = []inspected{one}
	}
	places := linesOf(text)
	var r Result
	for i := range all {
		in := &all[i]
		name := strings.TrimPrefix(in.Name, "/")
		if name == "" || in.Config.Image == "" {
			return Result{}, fmt.Errorf("read %s: %w", file, ErrNoContainer)
		}
		c := &carrying{site: spec.New(siteName(name)), file: file, service: name, lineOf: func(setting string) int {
			return places.of(fmt.Sprintf("[%d].%s", i, setting))
		}}
		in.carry(c)
		for _, p := range ports[name] {
			c.port("Config.ExposedPorts", p.String())
		}
		c.into(&r)
	}
	r.sort()
	return r, nil
}

func (in *inspected) carry(c *carrying) {
	cfg, host := &in.Config, &in.HostConfig
	ref := cfg.Image
	if in.ImageName != "" {
		ref = in.ImageName
	}
	c.image("Config.Image", ref)
	c.site.Entrypoint, c.site.Command = cfg.Entrypoint, cfg.Cmd
	if cfg.Entrypoint != nil || cfg.Cmd != nil {
		c.becomes("Config.Cmd", "the container's command is that of the image, as far as it was not given: take out what the image says by itself")
	}
	c.site.Workdir, c.site.User = cfg.WorkingDir, spec.User(cfg.User)
	if c.site.Workdir == "/" {
		c.site.Workdir = ""
	}
	// Where nobody chose one it is the start of the container's ID, or the machine's.
	if cfg.Hostname != "" && !strings.HasPrefix(in.ID, cfg.Hostname) && host.NetworkMode != "host" && host.UTSMode != "host" {
		c.site.Hostname = cfg.Hostname
	}
	for _, text := range cfg.Env {
		if name, value, ok := strings.Cut(text, "="); ok && !slices.Contains(ofEngine, name) {
			c.variable(name, value)
		}
	}
	in.ports(c)
	in.mounts(c)
	in.limits(c)
	for i, name := range host.CapAdd {
		c.capability(fmt.Sprintf("HostConfig.CapAdd[%d]", i), name)
	}
	for _, name := range host.CapDrop {
		capability := capabilityOf(name)
		if spec.MayDrop(capability) { // podman lists what it does not give, too
			c.site.Capabilities.Drop = append(c.site.Capabilities.Drop, capability)
		}
	}
	for i, text := range host.SecurityOpt {
		c.security(fmt.Sprintf("HostConfig.SecurityOpt[%d]", i), text)
	}
	c.resolver(host.DNS, host.DNSSearch, host.DNSOptions)
	for _, text := range host.ExtraHosts {
		name, address, _ := strings.Cut(text, ":")
		c.host(name, address)
	}
	c.site.ReadOnlyRoot = host.ReadonlyRootfs
	c.site.Init = host.Init != nil && *host.Init
	in.life(c)
	in.untold(c)
}

// ofEngine are variables that the container engines set by themselves.
var ofEngine = []string{"container", "HOSTNAME", "TERM", "PATH", "HOME"}

func (in *inspected) ports(c *carrying) {
	for _, text := range slices.Sorted(maps.Keys(in.HostConfig.PortBindings)) {
		c.port("HostConfig.PortBindings", text)
	}
	for _, text := range slices.Sorted(maps.Keys(in.Config.ExposedPorts)) {
		c.port("Config.ExposedPorts", text)
	}
	for _, text := range slices.Sorted(maps.Keys(in.HostConfig.PortBindings)) {
		number, _, _ := strings.Cut(text, "/")
		for _, b := range in.HostConfig.PortBindings[text] {
			if b.HostPort != "" && b.HostPort != number {
				c.becomes("HostConfig.PortBindings", "the site answers on %s at an address of its own, not on %s of the machine", number, b.HostPort)
			}
		}
	}
}

func (in *inspected) mounts(c *carrying) {
	for i, m := range in.Mounts {
		at := fmt.Sprintf("Mounts[%d]", i)
		switch m.Type {
		case "bind":
			c.folder(at, m.Source, m.Destination, !m.RW)
		case "volume":
			name := m.Name
			if len(name) == 64 { // of nobody's choice
				name = strings.Trim(m.Destination, "/")
			}
			c.kept(at, name, m.Destination, !m.RW)
			if m.Source != "" {
				c.becomes(at, "its data is in %s", m.Source)
			}
		case "tmpfs":
			c.site.Tmpfs = append(c.site.Tmpfs, spec.Tmpfs{Target: m.Destination})
		default:
			c.lost(at, "there are no volumes of type %s", m.Type)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(in.HostConfig.Tmpfs)) {
		c.tmpfs("HostConfig.Tmpfs", target+":"+in.HostConfig.Tmpfs[target])
	}
}

// defaultShm is what the engines give where nobody asks for another size, and what
// a site has.
const defaultShm = 65_536_000

func (in *inspected) limits(c *carrying) {
	h := &in.HostConfig
	c.site.Limits.Memory.Max, c.site.Limits.Memory.Min = spec.Bytes(max(h.Memory, 0)), spec.Bytes(max(h.MemoryReservation, 0))
	switch {
	case h.NanoCPUs > 0:
		c.site.Limits.CPU.Max = cores(float64(h.NanoCPUs) / 1e9)
	case h.CPUQuota > 0 && h.CPUPeriod > 0:
		c.site.Limits.CPU.Max = cores(float64(h.CPUQuota) / float64(h.CPUPeriod))
	}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		c.site.Limits.Pids.Max = int(*h.PidsLimit)
	}
	if h.ShmSize > 0 && h.ShmSize != defaultShm && h.ShmSize != 64<<20 {
		c.site.ShmSize = spec.Bytes(h.ShmSize)
	}
}

func (in *inspected) life(c *carrying) {
	cfg := &in.Config
	if signal, ok := cfg.StopSignal.(string); ok && signal != "SIGTERM" { // older podmans have a number
		c.site.Stop.Signal = signal
	} else if n, ok := cfg.StopSignal.(float64); ok && n != 15 && n != 0 {
		c.lost("Config.StopSignal", "it is number %s; write its name into stop.signal", strconv.Itoa(int(n)))
	}
	if cfg.StopTimeout != nil && *cfg.StopTimeout != 10 {
		c.site.Stop.Grace = spec.Duration(time.Duration(*cfg.StopTimeout) * time.Second)
	}
	if h := cfg.Healthcheck; h != nil && len(h.Test) > 0 {
		c.health(h.Test, h.Interval, h.Timeout, h.Retries)
		if h.StartPeriod > 0 {
			c.lost("Config.Healthcheck", "its start period: ready of the spec says when a replica that starts can serve")
		}
	}
}

// untold tells of what no spec has.
func (in *inspected) untold(c *carrying) {
	h := &in.HostConfig
	for _, s := range []struct {
		setting, reason string
		said            bool
	}{
		{"Privileged", "privileged", h.Privileged},
		{"NetworkMode", "network_mode", shared(h.NetworkMode)},
		{"PidMode", "pid", shared(h.PidMode)},
		{"IpcMode", "ipc", shared(h.IpcMode)},
		{"UsernsMode", "userns_mode", h.UsernsMode != ""},
		{"CpusetCpus", "cpuset", h.CpusetCpus != ""},
		{"Devices", "devices", len(h.Devices) > 0},
		{"Ulimits", "ulimits", len(h.Ulimits) > 0},
		{"Sysctls", "sysctls", len(h.Sysctls) > 0},
		{"GroupAdd", "group_add", len(h.GroupAdd) > 0},
		{"Links", "links", len(h.Links) > 0},
		{"VolumesFrom", "volumes_from", len(h.VolumesFrom) > 0},
	} {
		if s.said {
			c.lost("HostConfig."+s.setting, "%s", reasons[s.reason])
		}
	}
	if name := h.RestartPolicy.Name; name != "" && name != "no" {
		c.becomes("HostConfig.RestartPolicy", "%s", means["restart"])
	}
	if len(in.Config.Labels) > 0 {
		c.lost("Config.Labels", "%s", reasons["labels"])
	}
	if in.Config.Tty || in.Config.OpenStdin {
		c.lost("Config.Tty", "%s", reasons["tty"])
	}
}

// shared says whether a container has a namespace of the machine's or of another.
func shared(mode string) bool { return mode == "host" || strings.HasPrefix(mode, "container:") }
