package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
	"github.com/fcnode/fcnode/runtime/spec"
)

const (
	maxLinkName   = 15      // IFNAMSIZ of the kernel without the NUL
	sinkSuffix    = "-sink" // makes the name of the sink's link, in package netctl
	maxDeviceName = maxLinkName - len(sinkSuffix)
	maxPrefixes   = 16
	maxSocketPath = 107 // sun_path of the kernel without the NUL
	maxSitesLimit = 1 << 20
)

// attachModes are those of package bpf, which this package need not import for three words.
var attachModes = []string{"auto", "tcx", "clsact"}

// egressWays are those of package netctl.
var egressWays = []string{"masquerade", "routed", "none"}

// firewallModes are those of package firewall.
var firewallModes = []string{"respect", "bypass"}

// proofModes are those of package bpf.
var proofModes = []string{"auto", "always", "off"}

var (
	linkForm     = regexp.MustCompile(`^[^\s/:%\x00-\x1f\x7f]+$`)
	registryForm = regexp.MustCompile(`^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$`)

	groupForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)
	// poolNames are those of the node's ends of the replicas' links.
	poolNames = regexp.MustCompile(`^fcv[0-9]+$`)
)

// checker collects complaints by the path of the field.
type checker struct {
	report func(path string, err error)
}

func (c checker) bad(path, allowed, msg string, args ...any) {
	c.report(path, strictyaml.Bad(allowed, msg, args...))
}

// Validate checks a configuration that was changed after Load, say by flags. The errors, of type Errors, have fields but no
// positions.
func (cfg *Config) Validate() error {
	var errs Errors
	checker{report: func(path string, err error) {
		e := &Error{Field: path, Msg: err.Error()}
		var bad *strictyaml.Invalid
		if errors.As(err, &bad) {
			e.Msg, e.Allowed = bad.Msg, bad.Allowed
		}
		errs = append(errs, e)
	}}.config(cfg)
	return errs.Err()
}

func (c checker) config(cfg *Config) {
	c.links(cfg)
	c.prefixes(cfg.Prefixes)
	cfg.Network.Check(c.report)
	cfg.Ignore.Check(c.report)
	if !slices.Contains(attachModes, cfg.Attach) {
		c.bad("attach", strings.Join(attachModes, ", "), "%q is not a way to attach programs", cfg.Attach)
	}
	c.paths(cfg)
	c.group("socketGroup", cfg.SocketGroup)
	for role, groups := range map[string][]string{"read": cfg.Access.Read, "operate": cfg.Access.Operate, "admin": cfg.Access.Admin} {
		for i, name := range groups {
			if !groupForm.MatchString(name) {
				c.bad(fmt.Sprintf("access.%s[%d]", role, i), "the name of a group", "%q is not the name of a group", name)
			}
		}
	}
	c.group("routes.group", cfg.Routes.Group)
	c.number("pool", cfg.Pool, 0, 1024)
	c.number("runners", cfg.Runners, 0, 64)
	c.number("maxSites", cfg.MaxSites, 1, maxSitesLimit)
	c.number("flows.max", cfg.Flows.Max, 1024, 1<<24)
	c.number("flows.perSite", cfg.Flows.PerSite, 64, 1<<20)
	if cfg.Flows.PerSite > cfg.Flows.Max/8 { // of each of its addresses, and tables of fragments have half
		c.bad("flows.perSite", "up to an eighth of flows.max", "%d is more than an eighth of flows.max, %d", cfg.Flows.PerSite, cfg.Flows.Max)
	}
	c.number("hold.perSite", cfg.Hold.PerSite, 1, 4096)
	c.number("hold.total", cfg.Hold.Total, 1, 1<<20)
	if cfg.Hold.PerSite > cfg.Hold.Total {
		c.bad("hold.perSite", "up to hold.total", "%d is more than hold.total, %d", cfg.Hold.PerSite, cfg.Hold.Total)
	}
	c.duration("hold.deadline", cfg.Hold.Deadline, time.Second, 10*time.Minute)
	if cfg.Hold.Silence != 0 {
		c.duration("hold.silence", cfg.Hold.Silence, 3*time.Second, 10*time.Minute)
	}

	c.duration("wake.unused", cfg.Wake.Unused, time.Second, time.Hour)
	c.tokens("wake.source", cfg.Wake.Source)
	c.tokens("wake.site", cfg.Wake.Site)
	c.number("wake.ahead", cfg.Wake.Ahead, 0, 1_000_000)
	c.oneOf("wake.proof", cfg.Wake.Proof, proofModes, "time to ask for a proof")
	if err := cfg.Keepalive.Check(); err != nil {
		c.report("keepalive", err)
	}
	if err := cfg.UDPIdle.Check(); err != nil {
		c.report("udpIdle", err)
	}
	c.duration("start.timeout", cfg.Start.Timeout, 100*time.Millisecond, time.Hour)
	c.number("start.parallel", cfg.Start.Parallel, 0, 1024)
	if cfg.Record.Keep != 0 {
		c.duration("record.keep", cfg.Record.Keep, time.Hour, 366*24*time.Hour)
	}
	if r := spec.Bytes(cfg.Disk.Reserve); r != 0 && (r < spec.MiB || r > spec.TiB) {
		c.bad("disk.reserve", "0B, or 1MiB to 1TiB", "%s is out of range", r)
	}
	c.size("record.disk", cfg.Record.Disk, spec.MiB)
	c.size("log.maxSize", cfg.Log.MaxSize, 64*spec.KiB)
	c.number("log.files", cfg.Log.Files, 1, 1000)
	if b := cfg.Log.Rate.Bytes; b != 0 && (b < spec.KiB || b > spec.GiB) {
		c.bad("log.rate.bytes", fmt.Sprintf("0, %s to %s", spec.KiB, spec.GiB), "%s is out of range", b)
	}
	c.number("log.rate.lines", cfg.Log.Rate.Lines, 0, 1_000_000)
	c.privileges(cfg.Privileges)
	c.registries(cfg.Registries)
	c.trust(cfg.Trust)
	c.images(cfg.Images)
	c.tiers(cfg)
	c.classes(cfg)
	c.scaling(cfg)
	c.bounds(cfg)
	cfg.DNS.Check("dns", c.report)
	if cfg.Egress != "" {
		c.oneOf("egress", cfg.Egress, egressWays, "way out")
	}
	c.oneOf("firewall", cfg.Firewall, firewallModes, "answer")
}

func (c checker) oneOf(at, got string, want []string, what string) {
	if slices.Contains(want, got) {
		return
	}
	hint := ""
	if guess := strictyaml.Suggest(got, want); guess != "" {
		hint = "; did you mean " + guess + "?"
	}
	c.bad(at, strings.Join(want, ", "), "%q is no %s%s", got, what, hint)
}

// images checks the bounds of what images take.
func (c checker) images(i Images) {
	c.size("images.bytes", i.Bytes, spec.MiB)
	if d := spec.Bytes(i.Disk); d != 0 && (d < spec.MiB || d > 1024*spec.TiB) {
		c.bad("images.disk", "all, or 1MiB to 1PiB", "%s is out of range", d)
	}
	c.number("images.entries", i.Entries, 1, 100_000_000)
	c.duration("images.time", i.Time, time.Second, 24*time.Hour)
}

// registries checks the names of registries.
func (c checker) registries(r Registries) {
	if r.Auth != "" {
		c.path("registries.auth", r.Auth)
	}
	host := func(at, name string) {
		if !registryForm.MatchString(name) {
			c.bad(at, "host or host:port, like docker.io or registry.example:5000", "%q is not the name of a registry", name)
		}
	}
	docker := []string{"index.docker.io", "registry-1.docker.io"} // its other names, by which no image is called
	for name, mirrors := range r.Mirrors {
		if slices.Contains(docker, name) {
			c.bad("registries.mirrors", "docker.io", "%s is called docker.io here, as in the names of images", name)
		}
		host("registries.mirrors", name)
		for i, m := range mirrors {
			host(fmt.Sprintf("registries.mirrors.%s[%d]", name, i), m)
		}
	}
	for i, name := range r.Insecure {
		at := fmt.Sprintf("registries.insecure[%d]", i)
		if name == "docker.io" || slices.Contains(docker, name) {
			c.bad(at, "take it out", "%s is asked by HTTPS; list a mirror of it that is not", name)
		}
		host(at, name)
	}
}

func (c checker) tokens(path string, t Tokens) {
	c.number(path+".burst", t.Burst, 0, 1<<20)
	c.duration(path+".every", t.Every, time.Millisecond, time.Hour)
}

// privileges checks what specs may ask for.
func (c checker) privileges(p Privileges) {
	if modes := []string{UsernsHost, UsernsPrivate, UsernsRequired}; !slices.Contains(modes, p.Userns) {
		c.bad("privileges.userns", strings.Join(modes, ", "), "%q is not such a namespace", p.Userns)
	}
	if words := []string{AppArmorDefault, AppArmorUnconfined, AppArmorRequired}; !slices.Contains(words, p.AppArmor) {
		c.bad("privileges.apparmor", strings.Join(words, ", "), "%q is not such a profile; a spec may name one that is loaded", p.AppArmor)
	}
	for i, name := range p.Capabilities {
		at := fmt.Sprintf("privileges.capabilities[%d]", i)
		if err := name.CheckMore(); err != nil {
			c.report(at, err)
		} else if slices.Index(p.Capabilities, name) < i {
			c.bad(at, "", "%s stands in the list twice", name)
		}
	}
}

func (c checker) group(path, name string) {
	if name != "" && !groupForm.MatchString(name) {
		c.bad(path, `the name of a group, or "" for root alone`, "%q is not the name of a group", name)
	}
}

// scaling checks what the node gives to sites that are scaled, and where its metrics are.
func (c checker) scaling(cfg *Config) {
	if n := cfg.Budget.CPU; n != 0 && !(n >= Cores(spec.MinCPU) && n <= 1<<16) {
		c.bad("budget.cpu", "cores from 0.01 to 65536, or all", "%v is out of range", float64(n))
	}
	if b := cfg.Budget.Memory; b != 0 && (b < Size(spec.MiB) || b > Size(1024*spec.TiB)) {
		c.bad("budget.memory", "1MiB to 1024TiB, or all", "%s is out of range", spec.Bytes(b))
	}
	for i, d := range cfg.Budget.IO {
		at := fmt.Sprintf("budget.io[%d]", i)
		c.path(at+".device", d.Device)
		c.number(at+".riops", d.Reads, 0, math.MaxInt32)
		c.number(at+".wiops", d.Writes, 0, math.MaxInt32)
		if d == (DiskBudget{Device: d.Device}) {
			c.bad(at, "at least one of rbps, wbps, riops, wiops", "bounds nothing")
		}
	}
	if cfg.Metrics.Listen == "" {
		return
	}
	if _, err := netip.ParseAddrPort(cfg.Metrics.Listen); err != nil {
		c.bad("metrics.listen", `an address and port, like 127.0.0.1:9400 or [::1]:9400`, "%q is no such thing", cfg.Metrics.Listen)
	}
}

// classes checks what sites may ask for.
func (c checker) classes(cfg *Config) {
	if b := cfg.Memory.Sites; b != 0 && (b < spec.MiB || b > 1024*spec.TiB) {
		c.bad("memory.sites", "1MiB to 1024TiB", "%s is out of range", b)
	}
	if b := cfg.Memory.Max; b != 0 && (b < spec.MiB || b > 1024*spec.TiB) {
		c.bad("memory.max", "1MiB to 1024TiB", "%s is out of range", b)
	} else if b != 0 && b < cfg.Memory.Sites {
		c.bad("memory.max", "memory.sites or more", "%s is less than memory.sites, %s: the kernel would end sites before the node sends them deeper", b, cfg.Memory.Sites)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Classes)) {
		class, at := cfg.Classes[name], "classes."+name
		if !spec.IsLabel(name) {
			c.bad(at, "1 to 63 of a-z, 0-9 and -, not starting or ending with -", "%q is not the name of a class", name)
		}
		c.share(at+".late", class.Late)
		c.duration(at+".over", class.Over, time.Duration(spec.MinOver), time.Duration(spec.MaxOver))
		if class.Each != 0 {
			c.share(at+".each", class.Each)
			if class.Each < class.Late {
				c.bad(at+".each", "late or more", "%s of each site's requests is less than late of all, %s", class.Each, class.Late)
			}
		}
	}
}

func (c checker) share(path string, p spec.Percent) {
	if !(p >= spec.MinLate && p <= spec.MaxLate) {
		c.bad(path, fmt.Sprintf("%s to %s", spec.MinLate, spec.MaxLate), "%s is out of range", p)
	}
}

// tiers checks what concerns sleeping sites.
func (c checker) tiers(cfg *Config) {
	c.duration("busy.most", cfg.Busy.Most, 0, 366*24*time.Hour)
	c.number("prepared.max", cfg.Prepared.Max, 0, 4096)
	c.size("prepared.memory", cfg.Prepared.Memory, spec.MiB)
	c.size("reclaim.keep", cfg.Reclaim.Keep, 4*spec.KiB)
	c.size("checkpoints.disk", cfg.Checkpoints.Disk, spec.MiB)
	c.duration("checkpoints.timeout", cfg.Checkpoints.Timeout, 100*time.Millisecond, 10*time.Minute)
	if cfg.Checkpoints.CRIU != "" {
		c.path("checkpoints.criu", cfg.Checkpoints.CRIU)
	}
}

func (c checker) size(path string, b, least spec.Bytes) {
	if b < least || b > spec.TiB {
		c.bad(path, fmt.Sprintf("%s to %s", least, spec.TiB), "%s is out of range", b)
	}
}

func (c checker) number(path string, n, least, most int) {
	if n < least || n > most {
		c.bad(path, fmt.Sprintf("%d to %d", least, most), "%d is out of range", n)
	}
}

func (c checker) duration(path string, d spec.Duration, least, most time.Duration) {
	if time.Duration(d) < least || time.Duration(d) > most {
		c.bad(path, fmt.Sprintf("%s to %s", spec.Duration(least), spec.Duration(most)), "%s is out of range", d)
	}
}

func (c checker) links(cfg *Config) {
	c.link("device", cfg.Device)
	if len(cfg.Device) > maxDeviceName {
		c.bad("device", fmt.Sprintf("1 to %d characters, as there is a link called <device>%s besides", maxDeviceName, sinkSuffix),
			"%q has %d characters", cfg.Device, len(cfg.Device))
	}
	if poolNames.MatchString(cfg.Device) {
		c.bad("device", "another name than fcv and a number", "%s is a name for the links of replicas", cfg.Device)
	}
	for i, name := range cfg.Uplinks {
		at := fmt.Sprintf("uplinks[%d]", i)
		c.link(at, name)
		switch {
		case name == cfg.Device || name == cfg.Device+sinkSuffix:
			c.bad(at, "links to the outside", "%s is a link of fcnode itself", name)
		case slices.Index(cfg.Uplinks, name) < i:
			c.bad(at, "", "%s stands in the list twice", name)
		}
	}
}

// link checks the name of a link as the kernel's dev_valid_name does, and that it is not one of the names with a meaning.
func (c checker) link(path, name string) {
	const allowed = "1 to 15 characters without spaces, / and :"
	switch {
	case name == "":
		c.bad(path, allowed, "is empty")
	case len(name) > maxLinkName:
		c.bad(path, allowed, "%q has %d characters", name, len(name))
	case !linkForm.MatchString(name) || name == "." || name == "..":
		c.bad(path, allowed, "%q is not the name of a link", name)
	case name == "lo" || name == "all" || name == "default":
		c.bad(path, "a link other than lo, all and default", "%s cannot be used", name)
	}
}

// reserved holds no addresses of sites.
var reserved = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/3"), "multicast and reserved"},
	{netip.MustParsePrefix("::/8"), "loopback and IPv4-mapped"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

func (c checker) prefixes(prefixes []netip.Prefix) {
	const allowed = "1 to 16 prefixes that do not overlap: IPv4 of /8 to /28, IPv6 of /16 to /120"
	if len(prefixes) == 0 {
		c.bad("prefixes", allowed, "is empty: sites need addresses")
	}
	if len(prefixes) > maxPrefixes {
		c.bad("prefixes", allowed, "has %d prefixes", len(prefixes))
		return
	}
	for i, p := range prefixes {
		at := fmt.Sprintf("prefixes[%d]", i)
		if !p.IsValid() || p.Addr().Is4In6() {
			c.bad(at, allowed, "is not a prefix")
			continue
		}
		if p != p.Masked() {
			c.bad(at, allowed, "%s has bits set outside of its mask; did you mean %s?", p, p.Masked())
			continue
		}
		for j, other := range prefixes[:i] {
			if p.Overlaps(other) {
				c.bad(at, allowed, "%s overlaps %s of prefixes[%d]", p, other, j)
			}
		}
		widest, narrowest := 8, 28
		if p.Addr().Is6() {
			widest, narrowest = 16, 120
		}
		switch {
		case p.Bits() > narrowest:
			c.bad(at, allowed, "%s is too small for more than a handful of sites", p)
		case p.Bits() < widest:
			c.bad(at, allowed, "%s is too large: it would take addresses of others", p)
		}
		for _, r := range reserved {
			if p.Overlaps(r.prefix) {
				c.bad(at, allowed, "%s overlaps %s (%s)", p, r.prefix, r.name)
			}
		}
	}
}

func (c checker) paths(cfg *Config) {
	c.path("stateDir", cfg.StateDir)
	if cfg.CgroupRoot != "auto" {
		c.path("cgroupRoot", cfg.CgroupRoot)
	}
	c.path("sitesDir", cfg.SitesDir)
	c.duration("deletion.reserve", cfg.Deletion.Reserve, 0, 366*24*time.Hour)
	c.path("runner", cfg.Runner)
	c.roots(cfg, "volumeRoots", cfg.VolumeRoots)
	c.roots(cfg, "secretRoots", cfg.SecretRoots)
	for i, root := range cfg.NFSRoots {
		if _, err := spec.ParseShare(root); err != nil {
			c.bad(fmt.Sprintf("nfsRoots[%d]", i), spec.NFSAllowed, "%v", err)
		}
	}
	// What follows from a bad path would only be bad for the same reason.
	if c.path("bpffs", cfg.BPFFS) && c.path("pinDir", cfg.PinDir) && !below(cfg.PinDir, cfg.BPFFS) {
		c.bad("pinDir", "a folder below bpffs", "%s is not below bpffs, %s: only there can be pinned", cfg.PinDir, cfg.BPFFS)
	}
	if c.path("runDir", cfg.RunDir) {
		c.socket("socket", cfg.Socket)
		c.socket("routes.socket", cfg.Routes.Socket)
	}
	if cfg.Socket == cfg.Routes.Socket {
		c.bad("routes.socket", "another path than socket", "%s is socket too", cfg.Socket)
	}
	if cfg.StateDir == cfg.RunDir {
		c.bad("runDir", "another folder than stateDir", "%s is stateDir too", cfg.RunDir)
	}
}

// roots checks where volumes or secrets come from. Sites are not to get hold of the node's own folders by mistake; "/" is for those who know
// what they do.
func (c checker) roots(cfg *Config, name string, roots []string) {
	for i, root := range roots {
		at := fmt.Sprintf("%s[%d]", name, i)
		if root != "/" && !c.path(at, root) {
			continue
		}
		if slices.Index(roots, root) < i {
			c.bad(at, "", "%s stands in the list twice", root)
		}
		for name, dir := range map[string]string{"stateDir": cfg.StateDir, "runDir": cfg.RunDir} {
			if dir != "" && (root == dir || below(root, dir)) {
				c.bad(at, "folders outside of stateDir and runDir", "%s is in %s, which is the node's own", root, name)
			}
		}
	}
}

func (c checker) socket(field, path string) {
	if c.path(field, path) && len(path) > maxSocketPath {
		c.bad(field, fmt.Sprintf("up to %d bytes", maxSocketPath), "has %d bytes, more than the kernel takes", len(path))
	}
}

// path checks an absolute path other than "/", and says whether it is one.
func (c checker) path(field, path string) bool {
	const allowed = `an absolute path other than /, without "//", "/./", "/../" or "/" at its end`
	switch {
	case path == "":
		c.bad(field, allowed, "is empty")
	case path == "/":
		c.bad(field, allowed, "may not be the root")
	case strings.ContainsRune(path, 0):
		c.bad(field, allowed, "has a NUL character")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		c.bad(field, allowed, "%q is not an absolute clean path", path)
	default:
		return true
	}
	return false
}

// below says whether path is inside of dir.
func below(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }
