package carry

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"github.com/fcnode/fcnode/runtime/spec"
)

// image sets the image, by its full name.
func (c *carrying) image(at, name string) {
	c.site.Image = name
	full, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		c.lost(at, "%v", err)
		return
	}
	if c.site.Image = full.String(); c.site.Image != name {
		c.becomes(at, "%s is written in full: %s", name, c.site.Image)
	}
}

func (f *composed) program(c *carrying, s *types.ServiceConfig) {
	c.image("image", s.Image)
	c.site.Entrypoint, c.site.Command = s.Entrypoint, s.Command
	c.site.Workdir, c.site.User = s.WorkingDir, spec.User(s.User)
	if s.Hostname != "" {
		c.site.Hostname = s.Hostname
	}
	if s.Init != nil {
		c.site.Init = *s.Init
	}
	if s.Platform != "" {
		c.platform(s.Platform)
	}
}

// platform allows 32-bit programs; all else is the node's own, or cannot run.
func (c *carrying) platform(text string) {
	parts := strings.Split(text, "/")
	arch := parts[min(1, len(parts)-1)]
	if all := spec.RunsOn(runtime.GOARCH); arch != runtime.GOARCH && slices.Contains(all, arch) {
		for _, a := range all {
			c.site.Architectures = append(c.site.Architectures, spec.Architecture(a))
		}
		return
	}
	c.becomes("platform", "the image of the node's own architecture is taken")
}

func (f *composed) environment(c *carrying, s *types.ServiceConfig) {
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		value := s.Environment[name]
		if value == nil {
			text, set := f.lookup(name)
			if !set {
				c.lost("environment."+name, "it has no value here")
				continue
			}
			value = &text
		}
		c.variable(name, *value)
		for _, other := range slices.Sorted(maps.Keys(f.project.Services)) {
			if other != s.Name && namesHost(name, *value, other) {
				c.becomes("environment."+name, "it names the service %s: a site reaches another one by address only; write its address, or a name for it in extraHosts, and allow that in network.allow", other)
			}
		}
	}
}

func (c *carrying) variable(name, value string) {
	if c.site.Env == nil {
		c.site.Env = map[string]string{}
	}
	c.site.Env[name] = value
}

// aboutHosts is of variables whose whole value may be the name of a host.
var aboutHosts = regexp.MustCompile(`(?i)host|addr|server|endpoint|upstream|url|uri|dsn|backend`)

// namesHost says whether a variable names a host: in a URL, as host:port, or by its
// name.
func namesHost(name, value, host string) bool {
	if value == host {
		return aboutHosts.MatchString(name)
	}
	return regexp.MustCompile(`(^|[/@,])` + regexp.QuoteMeta(host) + `(:[0-9]+)?($|[/,?])`).MatchString(value)
}

func (f *composed) ports(c *carrying, s *types.ServiceConfig) {
	for i, p := range s.Ports {
		at := fmt.Sprintf("ports[%d]", i)
		if !c.port(at, strconv.Itoa(int(p.Target))+"/"+p.Protocol) {
			continue
		}
		if p.Published != "" && p.Published != strconv.Itoa(int(p.Target)) {
			c.becomes(at, "the site answers on %d at an address of its own, not on %s of the machine", p.Target, p.Published)
		}
		if p.HostIP != "" && p.HostIP != "0.0.0.0" && p.HostIP != "::" {
			c.becomes(at, "the site answers at an address of its own, not at %s", p.HostIP)
		}
	}
	for i, text := range s.Expose {
		c.port(fmt.Sprintf("expose[%d]", i), text)
	}
	for _, p := range f.file.Ports[s.Name] {
		c.port("ports", p.String())
	}
}

func (c *carrying) port(at, text string) bool {
	p, err := spec.ParsePort(strings.TrimSuffix(text, "/"))
	if err != nil {
		c.lost(at, "%v", err)
		return false
	}
	if !slices.Contains(c.site.Ports, p) {
		c.site.Ports = append(c.site.Ports, p)
	}
	return true
}

func (f *composed) volumes(c *carrying, s *types.ServiceConfig) {
	for i, v := range s.Volumes {
		at := fmt.Sprintf("volumes[%d]", i)
		switch v.Type {
		case types.VolumeTypeBind:
			c.folder(at, v.Source, v.Target, v.ReadOnly)
			if v.Bind != nil && (v.Bind.Propagation != "" || v.Bind.SELinux != "") {
				c.lost(at, "propagation and labels of a bind mount; what is mounted below its source later is not seen")
			}
		case types.VolumeTypeVolume:
			f.named(c, at, v)
		case types.VolumeTypeTmpfs:
			t := spec.Tmpfs{Target: v.Target}
			if v.Tmpfs != nil {
				t.Size = spec.Bytes(v.Tmpfs.Size)
			}
			c.site.Tmpfs = append(c.site.Tmpfs, t)
		default:
			c.lost(at, "there are no volumes of type %s", v.Type)
		}
	}
	for i, text := range s.Tmpfs {
		c.tmpfs(fmt.Sprintf("tmpfs[%d]", i), text)
	}
}

// folder binds a folder, file or socket of the machine.
func (c *carrying) folder(at, source, target string, readOnly bool) {
	if path.Base(source) == "docker.sock" || path.Base(source) == "podman.sock" {
		c.lost(at, "it is the socket of a container engine, which runs no sites")
		return
	}
	c.site.Volumes = append(c.site.Volumes, spec.Volume{Source: source, Target: path.Clean(target), ReadOnly: readOnly})
}

func (f *composed) named(c *carrying, at string, v types.ServiceVolumeConfig) {
	name := v.Source
	if name == "" {
		name = strings.Trim(v.Target, "/")
	}
	if with := f.shared[v.Source]; v.Source != "" && len(with) > 1 {
		c.lost(at, "the volume %s is of %s; one that the node keeps is of one site: use a folder of the machine in each of them", v.Source, strings.Join(with, " and "))
		return
	}
	if decl, ok := f.project.Volumes[v.Source]; ok && (decl.Driver != "" && decl.Driver != "local" || len(decl.DriverOpts) > 0) {
		c.lost(at, "the volume %s has a driver; mount that on the machine, and bind the folder", v.Source)
		return
	}
	if v.Volume != nil && v.Volume.Subpath != "" {
		c.lost(at, "the whole volume is mounted or nothing: %s is a part of one", v.Volume.Subpath)
		return
	}
	c.kept(at, name, v.Target, v.ReadOnly)
	if v.Volume != nil && v.Volume.NoCopy {
		c.lost(at, "nocopy: a new volume is filled from the image")
	}
}

// kept gives the site a volume that the node keeps.
func (c *carrying) kept(at, name, target string, readOnly bool) {
	v := spec.Volume{Name: siteName(name), Target: path.Clean(target), ReadOnly: readOnly}
	c.site.Volumes = append(c.site.Volumes, v)
	c.becomes(at, "%s is a volume of the node's, called %s, and empty or filled from the image at first: copy the data into it", name, v.Name)
}

// tmpfs reads /run:size=64m,noexec.
func (c *carrying) tmpfs(at, text string) {
	target, options, _ := strings.Cut(text, ":")
	t := spec.Tmpfs{Target: path.Clean(target)}
	for o := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "size":
			n, err := bytesOf(value)
			if err != nil {
				c.lost(at, "%v", err)
			}
			t.Size = n
		case "noexec":
			t.NoExec = true
		case "", "rw", "exec", "nosuid", "nodev":
		case "mode":
			if value != "1777" { // which it has
				c.lost(at, "the mode %s of a file system in memory", value)
			}
		default:
			c.lost(at, "%s of a file system in memory", o)
		}
	}
	c.site.Tmpfs = append(c.site.Tmpfs, t)
}

// bytesOf reads 64m as mount(8) does.
func bytesOf(text string) (spec.Bytes, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return spec.Bytes(n), nil
	}
	for suffix, unit := range map[string]spec.Bytes{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if digits, ok := strings.CutSuffix(strings.ToLower(text), suffix); ok {
			n, err := strconv.ParseInt(digits, 10, 32)
			return spec.Bytes(n) * unit, err
		}
	}
	return 0, fmt.Errorf("%q is no size", text)
}

// configs mounts configs, which are files beside the compose file, where compose
// does.
func (f *composed) configs(c *carrying, s *types.ServiceConfig) {
	for i, v := range s.Configs {
		at := fmt.Sprintf("configs[%d]", i)
		from := types.FileObjectConfig(f.project.Configs[v.Source])
		if from.File == "" {
			c.lost(at, "%s is no file; write it into one, and bind that", v.Source)
			continue
		}
		c.site.Volumes = append(c.site.Volumes, spec.Volume{Source: from.File, Target: path.Join("/", cmp.Or(v.Target, v.Source)), ReadOnly: true})
		if v.Mode != nil {
			c.lost(at+".mode", "the file has the mode and owner that it has on the machine")
		}
	}
}

// secrets become those of the node, into which somebody has to copy them: beside
// the compose file they are not root's alone.
func (f *composed) secrets(c *carrying, s *types.ServiceConfig) {
	for i, v := range s.Secrets {
		at := fmt.Sprintf("secrets[%d]", i)
		secret := spec.Secret{Name: v.Source, Target: v.Target, Owner: spec.User(v.UID)}
		if v.UID != "" && v.GID != "" {
			secret.Owner += spec.User(":" + v.GID)
		}
		if v.Target != "" && !strings.HasPrefix(v.Target, "/") {
			secret.Target = "/run/secrets/" + v.Target
		}
		if v.Mode != nil {
			secret.Mode = spec.FileMode(*v.Mode)
		}
		if secret.Target == "/run/secrets/"+v.Source {
			secret.Target = ""
		}
		c.site.Secrets = append(c.site.Secrets, secret)
		file := f.project.Secrets[v.Source].File
		if file == "" {
			file = "FILE"
		}
		c.becomes(at, "%s is a secret of the node's: install -D -m 0600 %s /etc/fcnode/secrets/%s", v.Source, file, v.Source)
	}
}

func (f *composed) limits(c *carrying, s *types.ServiceConfig) {
	c.site.ShmSize = spec.Bytes(s.ShmSize)
	c.site.Limits.CPU.Max = cores(float64(s.CPUS))
	c.site.Limits.Memory.Max, c.site.Limits.Memory.Min = spec.Bytes(s.MemLimit), spec.Bytes(s.MemReservation)
	if s.PidsLimit > 0 {
		c.site.Limits.Pids.Max = int(s.PidsLimit)
	}
}

// cores rounds what was a 32-bit number.
func cores(n float64) spec.CPU {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(n, 'f', 3, 64), 64) // of its own text
	return spec.CPU(rounded)
}

func (f *composed) isolation(c *carrying, s *types.ServiceConfig) {
	c.site.ReadOnlyRoot = s.ReadOnly
	for i, name := range s.CapAdd {
		c.capability(fmt.Sprintf("cap_add[%d]", i), name)
	}
	for _, name := range s.CapDrop {
		c.site.Capabilities.Drop = append(c.site.Capabilities.Drop, capabilityOf(name))
	}
	for i, text := range s.SecurityOpt {
		c.security(fmt.Sprintf("security_opt[%d]", i), text)
	}
}

func capabilityOf(name string) spec.Capability {
	return spec.Capability(strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
}

func (c *carrying) capability(at, name string) {
	capability := capabilityOf(name)
	if !spec.MayAdd(capability) {
		c.lost(at, "%s reaches beyond a site, and none has it", capability)
		return
	}
	c.site.Capabilities.Add = append(c.site.Capabilities.Add, capability)
}

func (c *carrying) security(at, text string) {
	switch strings.ReplaceAll(text, "=", ":") {
	case "no-new-privileges", "no-new-privileges:true": // as every site has it
	case "no-new-privileges:false":
		no := false
		c.site.NoNewPrivileges = &no
	default:
		c.lost(at, "all sites have the node's filter of system calls, and no labels")
	}
}

func (f *composed) names(c *carrying, s *types.ServiceConfig) {
	c.resolver(s.DNS, s.DNSSearch, s.DNSOpts)
	for _, name := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, text := range s.ExtraHosts[name] {
			c.host(name, text)
		}
	}
}

func (c *carrying) resolver(servers, search, options []string) {
	for i, text := range servers {
		a, err := netip.ParseAddr(text)
		if err != nil {
			c.lost(fmt.Sprintf("dns[%d]", i), "%v", err)
			continue
		}
		c.site.DNS.Servers = append(c.site.DNS.Servers, a)
	}
	if len(search) > 0 {
		c.site.DNS.Search = slices.Clone(search)
	}
	if len(options) > 0 {
		c.site.DNS.Options = slices.Clone(options)
	}
}

func (c *carrying) host(name, text string) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		c.lost("extra_hosts", "%s is at %s, which is no address: write the machine's, and allow it in network.allow", name, text)
		return
	}
	if c.site.ExtraHosts == nil {
		c.site.ExtraHosts = map[string]spec.HostAddrs{}
	}
	c.site.ExtraHosts[name] = append(c.site.ExtraHosts[name], a)
}

func (f *composed) life(c *carrying, s *types.ServiceConfig) {
	c.site.Stop.Signal = s.StopSignal
	if s.StopGracePeriod != nil {
		c.site.Stop.Grace = spec.Duration(*s.StopGracePeriod)
	}
	if h := s.HealthCheck; h != nil && !h.Disable {
		every, timeout := duration(h.Interval), duration(h.Timeout)
		retries := 0
		if h.Retries != nil {
			retries = int(min(*h.Retries, 1000))
		}
		c.health(h.Test, every, timeout, retries)
		if h.StartPeriod != nil || h.StartInterval != nil {
			c.lost("healthcheck.start_period", "ready of the spec says when a replica that starts can serve; a probe of health is asked from then on")
		}
	}
}

func duration(d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return time.Duration(*d)
}

// health makes a probe of a check: CMD or CMD-SHELL and what is run.
func (c *carrying) health(test []string, every, timeout time.Duration, retries int) {
	if len(test) == 0 {
		c.lost("healthcheck.test", "it has no command of its own; health of an image is not read")
		return
	}
	switch test[0] {
	case "NONE":
		return
	case "CMD-SHELL":
		c.site.Health.Exec = []string{"/bin/sh", "-c", strings.Join(test[1:], " ")}
	case "CMD":
		c.site.Health.Exec = test[1:]
	default:
		c.site.Health.Exec = test
	}
	bounded := func(at string, d, least, most time.Duration) spec.Duration {
		within := min(max(d, least), most)
		if within != d {
			c.becomes(at, "%s is %s here, which lies between %s and %s", d, within, spec.Duration(least), spec.Duration(most))
		}
		return spec.Duration(within)
	}
	if every > 0 {
		c.site.Health.Every = bounded("healthcheck.interval", every, time.Second, time.Hour)
	}
	if timeout > 0 {
		c.site.Health.Timeout = bounded("healthcheck.timeout", timeout, 10*time.Millisecond, time.Minute)
	}
	if retries > 0 {
		c.site.Health.Failures = min(retries, 100)
	}
}

// mostReplicas is what scale.max can be.
const mostReplicas = 15

func (f *composed) deploy(c *carrying, s *types.ServiceConfig) {
	replicas, at := s.Scale, "scale"
	if d := s.Deploy; d != nil {
		if d.Replicas != nil {
			replicas, at = d.Replicas, "deploy.replicas"
		}
		f.resources(c, d)
		for _, s := range []struct {
			setting string
			said    bool
		}{
			{"deploy.mode", d.Mode != "" && d.Mode != "replicated"},
			{"deploy.labels", len(d.Labels) > 0},
			{"deploy.update_config", d.UpdateConfig != nil},
			{"deploy.rollback_config", d.RollbackConfig != nil},
			{"deploy.placement", len(d.Placement.Constraints)+len(d.Placement.Preferences) > 0 || d.Placement.MaxReplicas > 0},
			{"deploy.endpoint_mode", d.EndpointMode != ""},
		} {
			if s.said {
				c.lost(s.setting, "%s", reasons[s.setting])
			}
		}
		if d.RestartPolicy != nil {
			c.becomes("deploy.restart_policy", "%s", means["deploy.restart_policy"])
		}
	}
	if replicas == nil || *replicas == 1 {
		return
	}
	c.site.Scale.Max = min(max(*replicas, 1), mostReplicas)
	c.becomes(at, "there are up to %d replicas, as many as its load needs", c.site.Scale.Max)
}

func (f *composed) resources(c *carrying, d *types.DeployConfig) {
	if l := d.Resources.Limits; l != nil {
		if l.NanoCPUs > 0 {
			c.site.Limits.CPU.Max = cores(float64(l.NanoCPUs))
		}
		if l.MemoryBytes > 0 {
			c.site.Limits.Memory.Max = spec.Bytes(l.MemoryBytes)
		}
		if l.Pids > 0 {
			c.site.Limits.Pids.Max = int(l.Pids)
		}
	}
	if l := d.Resources.Reservations; l != nil {
		if l.NanoCPUs > 0 {
			c.site.Limits.CPU.Min = cores(float64(l.NanoCPUs))
		}
		if l.MemoryBytes > 0 {
			c.site.Limits.Memory.Min = spec.Bytes(l.MemoryBytes)
		}
		if len(l.Devices) > 0 {
			c.lost("deploy.resources.reservations.devices", "%s", reasons["devices"])
		}
	}
}
