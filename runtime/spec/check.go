package spec

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// What the checks allow. Patterns and numbers are used by the JSON Schema as well.
const (
	labelPattern = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	labelAllowed = "1 to 63 of a-z, 0-9 and -, not starting or ending with -"

	maxDomain     = 253
	domainPattern = `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`
	domainAllowed = "a host name in lower case without a dot at its end, like blog.example.com"

	envNamePattern = `^[A-Za-z_][A-Za-z0-9_.-]*$`
	envNameAllowed = "names of letters, digits, _, . and -, not starting with a digit"

	pathPattern = `^(/(\.[^./\x00][^/\x00]*|\.\.[^/\x00]+|[^./\x00][^/\x00]*))+$`
	pathAllowed = `an absolute path without "//", "/./", "/../" or "/" at its end`

	imagePattern = `^(oci|docker-archive|dir):/|` + registryPattern
	// registryPattern is an image in a registry. Its host is there: what a short
	// name means should be nobody's guess.
	registryPattern = `^(localhost(:[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?|\[[0-9A-Fa-f:]+\](:[0-9]+)?)` +
		`(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`
	imageAllowed = "registry.example/path:tag, oci:/path[:tag], docker-archive:/path.tar[:name:tag] or dir:/path, each path absolute"

	maxPorts   = 32
	maxVolumes = 64
	maxPids    = 4194304 // PID_MAX_LIMIT of the kernel
	minMemory  = MiB
	minInodes  = Count(1000)
	maxText    = 131071 // MAX_ARG_STRLEN of the kernel, without the NUL

	minIdle         = Duration(time.Second)
	maxIdle         = Duration(366 * 24 * time.Hour)
	minStartTimeout = Duration(100 * time.Millisecond)
	maxStartTimeout = Duration(time.Hour)
	maxGrace        = Duration(time.Hour)
)

// signals that make sense for asking a process to end.
var signals = []string{
	"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGPWR", "SIGKILL",
}

var (
	labelForm   = regexp.MustCompile(labelPattern)
	domainForm  = regexp.MustCompile(domainPattern)
	envNameForm = regexp.MustCompile(envNamePattern)
	pathForm    = regexp.MustCompile(pathPattern)
	imageForm   = regexp.MustCompile(imagePattern)

	registryForm = regexp.MustCompile(registryPattern)
	userForm     = regexp.MustCompile(userPattern)
)

// checker collects complaints about the values of a site by the path of the field.
type checker struct {
	report func(path string, err error)
}

// bad complains; msg and args as in fmt.Sprintf.
func (c checker) bad(path, allowed, msg string, args ...any) {
	c.report(path, strictyaml.Bad(allowed, msg, args...))
}

// Validate checks a Site that did not come through Parse. The errors, of type Errors, have fields but no positions. The defaults must
// be filled in.
func (s *Site) Validate() error {
	var errs Errors
	c := checker{report: func(path string, err error) {
		errs = append(errs, invalid(path, err))
	}}
	c.site(s)
	return errs.Err()
}

// site checks everything that can be said about a site by itself.
func (c checker) site(s *Site) {
	c.name("name", s.Name)
	c.domains(s.Domains)
	c.gateway(s)
	c.image(s.Image)
	c.process(s)
	c.capabilities(s.Capabilities)
	c.userns(s)
	c.appArmor(s.AppArmor)
	c.addresses(s.Addresses)
	c.ports(s.Ports)
	s.Network.Check(c.report)
	c.needs(s)
	s.Ignore.Check(c.report)
	c.volumes(s.Volumes)
	if s.ImageVolumes != "" && s.ImageVolumes != ImageVolumesIgnore {
		c.bad("imageVolumes", "keep, ignore", "%q is neither", s.ImageVolumes)
	}
	c.tmpfs(s)
	c.secrets(s)
	c.architectures(s.Architectures)
	c.limits(s.Limits)
	c.scale(s.Scale)
	c.life(s)
	c.probes(s)
	c.tiers(s)
	c.busy(s.Busy)
	c.between("keepConnections", s.KeepConnections, minIdle, maxIdle)
	c.schedule(s.Schedule)
	c.renewal(s)
	s.DNS.Check("dns", c.report)
	c.extraHosts(s.ExtraHosts)
}

// IsLabel says whether a name is one that a site, a volume or a class can have.
func IsLabel(name string) bool { return labelForm.MatchString(name) }

func (c checker) name(path, name string) {
	switch {
	case name == "":
		c.bad(path, labelAllowed, "is missing")
	case !labelForm.MatchString(name):
		c.bad(path, labelAllowed, "%q is not a DNS label", name)
	}
}

func (c checker) domains(domains []string) {
	for i, d := range domains {
		at := fmt.Sprintf("domains[%d]", i)
		switch {
		case len(d) > maxDomain || !domainForm.MatchString(d):
			hint := ""
			if low := strings.ToLower(strings.TrimSuffix(d, ".")); len(low) <= maxDomain && domainForm.MatchString(low) {
				hint = "; did you mean " + low + "?"
			} else if strings.IndexFunc(d, func(r rune) bool { return r > 127 }) >= 0 {
				hint = ": write it in its ASCII form (xn--...)"
				if ascii := asciiDomain(d); ascii != "" {
					hint = ": write it in its ASCII form, " + ascii
				}
			}
			c.bad(at, domainAllowed, "%q is not a domain%s", d, hint)
		case slices.Index(domains, d) < i:
			c.bad(at, "", "%q stands in the list twice", d)
		}
	}
}

func (c checker) image(image string) {
	_, rest, _ := strings.Cut(image, ":")
	switch {
	case image == "":
		c.bad("image", imageAllowed, "is missing")
	case strings.ContainsRune(image, 0):
		c.bad("image", imageAllowed, "has a NUL character")
	case !imageForm.MatchString(image):
		hint := ""
		scheme, _, _ := strings.Cut(image, ":")
		first, path, ok := strings.Cut(image, "/")
		switch {
		case scheme == "docker" && strings.HasPrefix(path, "/"):
			hint = "; did you mean " + strings.TrimLeft(path, "/") + "?"
		case registryForm.MatchString("docker.io/library/"+image) && !ok:
			hint = " without its registry; did you mean docker.io/library/" + image + "?"
		case registryForm.MatchString("docker.io/"+image) && !strings.ContainsAny(first, ".:"):
			hint = " without its registry; did you mean docker.io/" + image + "?"
		case slices.Contains([]string{"oci", "docker-archive", "dir"}, scheme):
			hint = ": its path is not absolute"
		case strings.HasPrefix(image, "/"):
			hint = "; did you mean dir:" + image + "?"
		}
		c.bad("image", imageAllowed, "%q is not an image%s", image, hint)
	case registryForm.MatchString(image):
	default:
		file, _, _ := strings.Cut(rest, ":")
		if !pathForm.MatchString(file) {
			c.bad("image", imageAllowed, "%q is not a clean path; did you mean %s?", file, path.Clean(file))
		}
	}
}

// process checks what the entry process is started with.
func (c checker) process(s *Site) {
	for _, list := range []struct {
		name string
		args []string
	}{{"entrypoint", s.Entrypoint}, {"command", s.Command}} {
		for i, arg := range list.args {
			c.text(fmt.Sprintf("%s[%d]", list.name, i), arg)
		}
		if len(list.args) > 0 && list.name == "entrypoint" && list.args[0] == "" {
			c.bad("entrypoint[0]", "the program to run", "is empty")
		}
	}
	names := make([]string, 0, len(s.Env))
	for name := range s.Env {
		names = append(names, name)
	}
	slices.Sort(names) // for errors in the same order every time
	for _, name := range names {
		if !envNameForm.MatchString(name) {
			c.bad("env."+name, envNameAllowed, "%q is not the name of a variable", name)
			continue
		}
		c.text("env."+name, s.Env[name])
	}
	if s.Workdir != "" && s.Workdir != "/" {
		c.path("workdir", s.Workdir)
	}
	if s.User != "" && !userForm.MatchString(string(s.User)) {
		c.bad("user", userAllowed, "%q is not a user", string(s.User))
	}
	if s.Hostname != s.Name {
		c.name("hostname", s.Hostname)
	}
}

// text checks what is handed to execve.
func (c checker) text(path, text string) {
	if strings.ContainsRune(text, 0) {
		c.bad(path, "", "has a NUL character, which no argument or variable can hold")
	}
	if len(text) > maxText {
		c.bad(path, fmt.Sprintf("up to %d bytes", maxText), "has %d bytes, more than the kernel takes", len(text))
	}
}

// path checks an absolute path other than "/", and says whether it is one.
func (c checker) path(at, p string) bool {
	switch {
	case p == "":
		c.bad(at, pathAllowed, "is missing")
	case p == "/":
		c.bad(at, pathAllowed, "may not be the root")
	case !pathForm.MatchString(p):
		hint := ""
		if clean := path.Clean(p); clean != p && pathForm.MatchString(clean) {
			hint = "; did you mean " + clean + "?"
		}
		c.bad(at, pathAllowed, "%q is not an absolute clean path%s", p, hint)
	default:
		return true
	}
	return false
}

func (c checker) addresses(addrs []netip.Addr) {
	const allowed = "at most one IPv4 and one IPv6 address, each out of a prefix of the node"
	families := map[bool]netip.Addr{}
	for i, a := range addrs {
		at := fmt.Sprintf("addresses[%d]", i)
		first, second := families[a.Is4()]
		switch {
		case !a.IsValid():
			c.bad(at, allowed, "is not an address")
		case a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
			c.bad(at, allowed, "%s cannot be the address of a site", a)
		case second:
			c.bad(at, allowed, "%s is a second address of the family of %s", a, first)
		default:
			families[a.Is4()] = a
		}
	}
}

func (c checker) ports(ports []Port) {
	if len(ports) == 0 {
		c.bad("ports", "1 to 32 ports like 80/tcp", "is missing: a site is woken by packets to its ports")
	}
	if len(ports) > maxPorts {
		c.bad("ports", "1 to 32 ports and ranges", "has %d of them", len(ports))
	}
	if n := CountPorts(ports); n > MaxPortNumbers {
		c.bad("ports", fmt.Sprintf("up to %d ports, those in ranges one by one", MaxPortNumbers), "has %d", n)
	}
	for i, p := range ports {
		at := fmt.Sprintf("ports[%d]", i)
		before := slices.IndexFunc(ports[:i], p.overlaps)
		switch {
		case p.Port == 0 || p.Last != 0 && p.Last <= p.Port || p.Proto != "tcp" && p.Proto != "udp":
			c.bad(at, portAllowed, "%q is not a port", p)
		case before < 0:
		case ports[before] == p:
			c.bad(at, "", "%s stands in the list twice", p)
		default:
			c.bad(at, "", "%s overlaps with %s", p, ports[before])
		}
	}
}

func (c checker) volumes(volumes []Volume) {
	if len(volumes) > maxVolumes {
		c.bad("volumes", "up to 64 volumes", "has %d volumes", len(volumes))
		return
	}
	for i, v := range volumes {
		at := fmt.Sprintf("volumes[%d]", i)
		c.volumeFrom(at, v, volumes[:i])
		if !c.path(at+".target", v.Target) {
			continue
		}
		for _, system := range []string{"/proc", "/sys", "/dev"} {
			if v.Target == system || system != "/dev" && strings.HasPrefix(v.Target, system+"/") {
				c.bad(at+".target", "a path outside of /proc, /sys and /dev", "%s belongs to the container", v.Target)
			}
		}
		for j, before := range volumes[:i] {
			switch {
			case before.Target == v.Target:
				c.bad(at+".target", "each target once", "%s is the target of volumes[%d] already", v.Target, j)
			case strings.HasPrefix(before.Target, v.Target+"/"):
				c.bad(at+".target", "outer targets before inner ones", "%s would hide %s of volumes[%d], which is mounted before it",
					v.Target, before.Target, j)
			}
		}
	}
}

// volumeFrom checks where a volume comes from.
func (c checker) volumeFrom(at string, v Volume, before []Volume) {
	switch {
	case v.Name == "" && v.Source == "":
		c.bad(at+".source", "source, a path of the node, or name, of a volume that the node keeps", "is missing")
	case v.Name != "" && v.Source != "":
		c.bad(at+".name", "source or name", "the volume has a source already, %s", v.Source)
	case IsNFS(v.Source):
		c.share(at, v)
	case v.Soft:
		c.bad(at+".soft", "soft with a source by NFS only", "nothing else waits for a server")
	case v.Source != "":
		c.path(at+".source", v.Source)
	case !labelForm.MatchString(v.Name):
		c.bad(at+".name", labelAllowed, "%q is not the name of a volume", v.Name)
	case v.Mountpoint:
		c.bad(at+".name", "mountpoint with a source only", "at a volume that the node keeps nothing is mounted")
	case v.Follow:
		c.bad(at+".follow", "follow with a source only", "a volume that the node keeps is no link")
	case v.Suid || v.Dev:
		c.bad(at+".name", "suid and dev with a source only", "a volume that the node keeps is filled from an image, whose devices and set-user-ID bits do not count")
	case slices.ContainsFunc(before, func(b Volume) bool { return b.Name == v.Name }):
		c.bad(at+".name", "each name once", "%s is in the list already", v.Name)
	}
}

// share checks a volume that a server exports by NFS.
func (c checker) share(at string, v Volume) {
	const which = "with a path of the node only"
	s, err := ParseShare(v.Source)
	switch {
	case err != nil:
		c.bad(at+".source", NFSAllowed, "%v", err)
	case s.Path == "/":
		c.bad(at+".source", NFSAllowed, "may not be the root of all that the server exports")
	case v.Suid || v.Dev:
		c.bad(at+".source", "suid and dev "+which, "what a server exports is mounted nosuid and nodev")
	case v.Follow:
		c.bad(at+".follow", "follow "+which, "no link on a server is followed")
	case v.Mountpoint:
		c.bad(at+".mountpoint", "mountpoint "+which, "the node mounts %s itself, and the site does not start when it cannot", v.Source)
	}
}

// life checks when a site wakes, goes to sleep and how it ends.
func (c checker) life(s *Site) {
	switch {
	case s.Scale.Min > 0 && !s.Idle.Never:
		c.bad("idle", "never, or scale.min: 0", "%s has no effect: with scale.min: %d the site never sleeps", s.Idle, s.Scale.Min)
	case s.Idle.Never && s.Idle.Auto, (s.Idle.Never || s.Idle.Auto) && s.Idle.After != 0,
		!s.Idle.Never && !s.Idle.Auto && (s.Idle.After < minIdle || s.Idle.After > maxIdle):
		c.bad("idle", idleAllowed, "%s is out of range", s.Idle)
	}
	if t := s.Start.Timeout; t != 0 && (t < minStartTimeout || t > maxStartTimeout) {
		c.bad("start.timeout", "100ms to 1h", "%s is out of range", t)
	}
	for field, k := range map[string]Keepalive{"keepalive": s.Keepalive, "udpIdle": s.UDPIdle} {
		if k == 0 {
			continue
		}
		if err := k.Check(); err != nil {
			c.report(field, err)
		}
	}
	if s.Stop.Grace < 0 || s.Stop.Grace > maxGrace {
		c.bad("stop.grace", "0s to 1h", "%s is out of range", s.Stop.Grace)
	}
	if s.Stop.Signal != "" && !slices.Contains(signals, s.Stop.Signal) {
		hint := ""
		if guess := strictyaml.Suggest("SIG"+strings.TrimPrefix(strings.ToUpper(s.Stop.Signal), "SIG"), signals); guess != "" {
			hint = "; did you mean " + guess + "?"
		}
		c.bad("stop.signal", strings.Join(signals, ", "), "%q is not such a signal%s", s.Stop.Signal, hint)
	}
}
