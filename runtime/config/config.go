package config

import (
	"cmp"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/runtime/spec"
)

// DefaultPath is the file that is read when none is named.
const DefaultPath = "/etc/fcnode/fcnode.yaml"

// installedRunner is where packages put the runner; see Config.Runner.
const installedRunner = "/usr/lib/fcnode/fcnode-runner"

// Config is the configuration of a daemon. Get one from Default or Load, which fill in every field.
type Config struct {
	// Device takes the packets for all sites. The daemon makes it.
	Device string `json:"device"`
	// Prefixes hold the addresses of the sites: 1 to 16 of them, IPv4 and IPv6. Each site gets one address of each family;
	// where one prefix of a family is full, the next is taken.
	Prefixes []netip.Prefix `json:"prefixes" also:"prefix,subnets,networks,cidrs"`
	// Uplinks are the links on which packets from outside come in; on them the fast path is attached.
	Uplinks []string `json:"uplinks" also:"uplink,interfaces,links"`

	// Network holds for all sites of which the spec does not say otherwise; see network of the spec.
	Network spec.Network `json:"network" also:"egress,policy"`
	// Ignore lists sources of packets that are no visits, for all sites; see ignore of the spec. What a spec says of them is its site's.
	Ignore spec.Ignored `json:"ignore" also:"ignored,monitors,bots"`

	// Attach is how programs are attached to links: auto, tcx or clsact.
	Attach string `json:"attach" also:"mode"`

	// StateDir keeps what must survive a reboot: sites, unpacked images, logs, the writable layers of replicas.
	StateDir string `json:"stateDir"`
	// RunDir keeps what is gone after a reboot: the socket and the records of running replicas.
	RunDir string `json:"runDir"`
	// VolumeRoots are the folders below which the sources of volumes and the folders of dir: images have to lie.
	VolumeRoots []string `json:"volumeRoots" also:"volumeroot,roots,volumes"`
	// NFSRoots are the folders of servers, nfs://SERVER/PATH, below which the sources of volumes by NFS have to lie. Empty: no site has any.
	NFSRoots []string `json:"nfsRoots" also:"nfsroot,nfs,exports,shares"`
	// SecretRoots are the folders below which secrets of sites have to lie. In the first of them those are whose spec names no source.
	SecretRoots []string `json:"secretRoots" also:"secretroot,secrets,secretsdir"`
	// BPFFS is the mount point of the BPF file system.
	BPFFS string `json:"bpffs"`
	// PinDir holds the pinned maps and links. Below BPFFS. Empty in a file: <BPFFS>/fcnode.
	PinDir string `json:"pinDir"`
	// CgroupRoot is the parent of all replicas' cgroups, below the mount point of cgroup2; auto: that of the unit
	// fcnode-sites.service where systemd runs it, else /fcnode.
	CgroupRoot string `json:"cgroupRoot"`
	// SitesDir has the specs that are applied when the daemon starts.
	SitesDir string `json:"sitesDir"`
	// Socket of the API. Empty in a file: <RunDir>/fcnode.sock.
	Socket string `json:"socket"`
	// SocketGroup may use the socket besides root.
	SocketGroup string `json:"socketGroup"`
	// Access says what those may do who may use the socket. Empty: everything.
	Access Access `json:"access" also:"roles,rbac"`
	// Runner is the program that makes containers. Empty in a file: fcnode-runner beside the fcnode that runs if it is
	// there, else the installed one.
	Runner string `json:"runner"`

	// Pool is how many network namespaces are kept ready, so that a wake does not wait for one.
	Pool int `json:"pool"`
	// Runners is how many runners are kept started, for the same reason.
	Runners int `json:"runners"`
	// MaxSites is the size of the maps of sites in the kernel.
	MaxSites int `json:"maxSites"`

	Flows Flows `json:"flows" also:"connections,conntrack,tables"`

	Deletion Deletion `json:"deletion" also:"delete,deletions"`

	Hold  Hold  `json:"hold"`
	Wake  Wake  `json:"wake" also:"wakes,budget,ratelimit"`
	Start Start `json:"start"`
	Log   Log   `json:"log" also:"logs,logging"`

	Privileges Privileges `json:"privileges" also:"security,capabilities"`

	Busy        Busy        `json:"busy"`
	Prepared    Prepared    `json:"prepared"`
	Reclaim     Reclaim     `json:"reclaim"`
	Checkpoints Checkpoints `json:"checkpoints" also:"checkpoint"`
	Budget      Budget      `json:"budget" also:"budgets"`
	// Memory bounds what all sites hold together.
	Memory Memory `json:"memory"`
	// Classes are the service levels that sites share, by their names; standard is that of sites which name none.
	Classes map[string]Class `json:"classes" also:"class,levels,tariffs"`

	// Defaults are the limits of sites whose spec has none of the kind. Empty: none.
	Defaults spec.Limits `json:"defaults,omitzero" also:"default,limits"`
	// Max is the most that the limits of each site may be. Empty: there is no such bound.
	Max Max `json:"max,omitzero" also:"maximum,most"`

	Disk       Disk       `json:"disk" also:"space"`
	Record     Record     `json:"record" also:"arrivals,recording"`
	Metrics    Metrics    `json:"metrics" also:"prometheus"`
	Routes     Routes     `json:"routes" also:"gateway"`
	Registries Registries `json:"registries" also:"registry"`
	// Trust are the rules by which images have to be signed; the first that is about an image counts. Default: none.
	Trust  []Trust `json:"trust" also:"signatures,policies,cosign"`
	Images Images  `json:"images" also:"image,unpack"`

	// Keepalive is after how long the connection of a client is ended that has gone without a word, unless the spec of its site says otherwise.
	Keepalive spec.Keepalive `json:"keepalive" also:"tcpkeepalive"`
	// UDPIdle is after how long without a datagram, in either direction, a flow of UDP is over that has lasted, unless the spec of its site says
	// otherwise.
	UDPIdle spec.Keepalive `json:"udpIdle" also:"udptimeout,udpidletimeout,flowtimeout"`

	// Egress is how connections that sites begin leave the node: masquerade (from the node's own address), routed (from the
	// site's) or none (refused). Empty: masquerade for private prefixes, routed for others.
	Egress string `json:"egress" also:"nat,masquerade,snat"`
	// Firewall says whether packets of sites pass the machine's firewall where it has rules for what is forwarded: respect, or
	// bypass, by which those of awake sites go past it.
	Firewall string `json:"firewall" also:"netfilter,iptables,nftables"`
	// DNS is how sites resolve names that do not say it themselves. Default: as the node does.
	DNS spec.DNS `json:"dns" also:"resolver,nameservers"`
}

// Privileges are the most that the spec of a site may ask for.
type Privileges struct {
	// Capabilities may be added to the default ones by specs.
	Capabilities []spec.Capability `json:"capabilities" also:"add,allow"`
	// NewPrivileges lets specs say noNewPrivileges: false.
	NewPrivileges bool `json:"newPrivileges" also:"nonewprivileges,setuid"`
	// Userns is the user namespace of sites whose spec does not say it: host (that of the machine), or private (one of each
	// replica's own). With required it is private, and no spec may say host.
	Userns string `json:"userns" also:"usernamespace,usernsmode"`
	// AppArmor is the profile of sites whose spec does not say it, where the kernel has AppArmor: default (fcnode's) or unconfined. With
	// required it is default, no spec may say anything else, and no site starts where that profile cannot be had.
	AppArmor string `json:"apparmor" also:"apparmorprofile,profile"`
}

// The values of Privileges.AppArmor.
const (
	AppArmorDefault    = spec.AppArmorDefault
	AppArmorUnconfined = spec.AppArmorUnconfined
	AppArmorRequired   = "required"
)

// Profile is the word, or the name, for the AppArmor profile of a site on this node.
func (p Privileges) Profile(s *spec.Site) string {
	switch {
	case s.AppArmor != "":
		return s.AppArmor
	case p.AppArmor == AppArmorRequired:
		return AppArmorDefault
	}
	return p.AppArmor
}

// The values of Privileges.Userns.
const (
	UsernsHost     = spec.UsernsHost
	UsernsPrivate  = spec.UsernsPrivate
	UsernsRequired = "required"
)

// OwnUserns says whether each replica of a site has a user namespace of its own on
// this node.
func (p Privileges) OwnUserns(s *spec.Site) bool { return s.OwnUserns(p.OwnUsernsByDefault()) }

// OwnUsernsByDefault says it of sites whose spec does not.
func (p Privileges) OwnUsernsByDefault() bool {
	return p.Userns == UsernsPrivate || p.Userns == UsernsRequired
}

// Registries says how images are pulled.
type Registries struct {
	// Auth is a file with credentials, as docker and podman write it; it need not be there.
	Auth string `json:"auth" also:"credentials,authfile"`
	// Mirrors, by registry, are asked before it, in this order.
	Mirrors map[string][]string `json:"mirrors" also:"mirror"`
	// Insecure registries are spoken to by HTTP.
	Insecure []string `json:"insecure" also:"http,plainhttp"`
}

// Images bounds what it takes to unpack one of them, so that no stranger's fills the disk or is unpacked for ever.
type Images struct {
	// Bytes is the size of its files, unpacked.
	Bytes spec.Bytes `json:"bytes" also:"size,max"`
	// Entries is how many files and folders its layers have.
	Entries int `json:"entries" also:"files,inodes"`
	// Disk is how much all of them may take; where they take more, those that no site has are removed. all: there is no such bound.
	Disk Size `json:"disk" also:"quota,keep,total"`
	// Time is how long fetching and unpacking may take.
	Time spec.Duration `json:"time" also:"timeout,deadline"`
}

// Routes is where a gateway follows which domain is served at which address.
type Routes struct {
	// Socket of the feed. Empty in a file: see RoutesSocket.
	Socket string `json:"socket"`
	// Group may follow the feed besides root, and can do nothing else with it.
	Group string `json:"group"`
}

// Deletion says how careful the node is with sites that go.
type Deletion struct {
	// Share is the most of the sites of SitesDir that may be deleted at once because their files are gone; never all of them, unless it is
	// 100%. Where more are gone nothing is changed without fcnode reload --force.
	Share spec.Percent `json:"share" also:"max"`
	// Reserve is how long the addresses of a deleted site are kept for a site of the same name. 0s: not at all.
	Reserve spec.Duration `json:"reserve" also:"addresses"`
}

// Access gives roles to groups. Each role includes those before it.
type Access struct {
	// Read sees sites, events and metrics.
	Read []string `json:"read"`
	// Operate wakes, parks and circulates sites, reads their logs, and denies sources.
	Operate []string `json:"operate"`
	// Admin applies and deletes sites and executes in them.
	Admin []string `json:"admin"`
}

// Flows are the sizes of the kernel's tables of who talks to which replica. What they lose is found again where it can be.
type Flows struct {
	// Max is how many entries each of them has.
	Max int `json:"max" also:"size,entries"`
	// PerSite is how many of them one site may have in each.
	PerSite int `json:"perSite" also:"quota"`
}

// Hold bounds what is kept of clients whose site is waking.
type Hold struct {
	// PerSite is the most flows of which packets are held for one site, and Total the most packets for all.
	PerSite int `json:"perSite"`
	Total   int `json:"total"`
	// Deadline is how long a packet is held before it is dropped.
	Deadline spec.Duration `json:"deadline" also:"timeout"`
	// Silence is for how long the daemon may be silent before new clients of sites that
	// sleep are refused by the kernel. 0: for ever.
	Silence spec.Duration `json:"silence" also:"heartbeat,watchdog"`
}

// Wake says what a wake takes of those for whom it is.
type Wake struct {
	// Unused is how long a site that a packet has woken stays awake if nobody uses it: if no connection carries data.
	Unused spec.Duration `json:"unused" also:"idle,timeout,grace"`
	// Source is how many sites one network (an IPv4 /24, an IPv6 /64) may wake.
	Source Tokens `json:"source" also:"client,network"`
	// Site is how often a site may be woken for nobody.
	Site Tokens `json:"site"`
	// Ahead is how many sites may be woken in an hour ahead of visits that their plans expect. 0: none.
	Ahead int `json:"ahead" also:"prewarm,speculative"`
	// Proof says whether a client proves its address before it wakes a site: auto (while handshakes are begun and not ended), always or off.
	Proof string `json:"proof" also:"cookies,syncookies"`
}

// Tokens are what is taken one of for each wake, and dropped without.
type Tokens struct {
	// Burst is how many there are at most. 0: there is no limit.
	Burst int `json:"burst" also:"count,max"`
	// Every is after how long one comes back.
	Every spec.Duration `json:"every" also:"rate,interval"`
}

// Start has the defaults for the start of sites.
type Start struct {
	// Timeout is how long a site may take until it listens, unless its spec says.
	Timeout spec.Duration `json:"timeout" also:"deadline"`
	// Parallel is how many sites start at the same moment; others wait for a slot,
	// in the order in which their visitors came. 0: two for each core.
	Parallel int `json:"parallel" also:"concurrency,max"`
}

// Busy bounds the work that keeps sites awake without visitors.
type Busy struct {
	// Most is for how long it does. 0s: not at all.
	Most spec.Duration `json:"most" also:"max,limit"`
}

// Prepared bounds the containers of parked sites that wait at their gate. Where one more is wanted the oldest makes room.
type Prepared struct {
	// Max is how many there are at most. 0: none.
	Max int `json:"max" also:"count"`
	// Memory is what they hold at most, together.
	Memory spec.Bytes `json:"memory"`
}

// Reclaim says how far the memory of frozen replicas is pushed out.
type Reclaim struct {
	// Keep is what each replica keeps in any case, and more if its spec has limits.memory.min.
	Keep spec.Bytes `json:"keep"`
	// Below is the share of the node's memory that has to be available for sites to keep theirs: only while less is, those
	// are reclaimed whose spec leaves the tier to the node.
	Below spec.Percent `json:"below" also:"available"`
	// WithoutSwap reclaims also where the node has neither swap nor zram: then only what is in files can go.
	WithoutSwap bool `json:"withoutSwap"`
}

// Checkpoints are the images of sleeping sites on disk.
type Checkpoints struct {
	// CRIU is the program. Empty: it is looked for where packages and packaging/criu.sh put it.
	CRIU string `json:"criu" also:"path"`
	// Disk is what the images of all sites take at most, together; where one more is wanted the oldest are dropped.
	Disk spec.Bytes `json:"disk" also:"size"`
	// Timeout is how long a restore may take until its site serves, before it is ended and the site started cold. What copies
	// much memory may take longer.
	Timeout spec.Duration `json:"timeout" also:"deadline"`
}

// Memory is what the node has for its sites.
type Memory struct {
	// Sites is what all sites may hold, awake and asleep. Left out: there is no such bound.
	Sites spec.Bytes `json:"sites,omitzero" also:"budget,total"`
	// Max is what the kernel lets the processes of all sites have: memory.max of the parent of their cgroups. Left out: there is no
	// such bound.
	Max spec.Bytes `json:"max,omitzero" also:"memorymax,limit,hard"`
}

// Class is a service level that sites share on this node: of all their requests no more than Late wait for longer than Over.
type Class struct {
	// Late is the share, 0.01% to 50%. Default: 1%.
	Late spec.Percent `json:"late" also:"share"`
	// Over is the wait from which a request is late, 10ms to 10m. Default: 100ms.
	Over spec.Duration `json:"over" also:"than,threshold"`
	// Each bounds the same share for every site of the class by itself, too. Left out: it is not.
	Each spec.Percent `json:"each,omitzero" also:"persite,site"`
}

// StandardClass is the name of the class that there always is.
const StandardClass = "standard"

// Log bounds the captured output of each site.
type Log struct {
	// MaxSize is the size at which a log file is rotated.
	MaxSize spec.Bytes `json:"maxSize" also:"size"`
	// Files is how many are kept, the current one among them.
	Files int `json:"files" also:"maxfiles,count"`
	// Rate is how much of what each replica writes is kept.
	Rate LogRate `json:"rate" also:"limit,ratelimit"`
}

// LogRate bounds the output of a replica a second; for a moment it may be ten seconds' worth. 0: there is no limit.
type LogRate struct {
	Bytes spec.Bytes `json:"bytes" also:"size"`
	Lines int        `json:"lines" also:"count,messages"`
}

// Record is how many arrivals each site had in which minute: counts, and nothing of who came.
type Record struct {
	// Keep is for how long. 0s: nothing is recorded.
	Keep spec.Duration `json:"keep" also:"retention,days"`
	// Disk is what it takes at most; the oldest days make room.
	Disk spec.Bytes `json:"disk" also:"size"`
}

// Disk says what is done before the disk of the state folder is full.
type Disk struct {
	// Reserve is how much of it is to be free, and is kept besides for when it is not; a twentieth of the disk at most. 0B: nothing is done.
	Reserve Reserve `json:"reserve" also:"free,floor,min"`
}

// Reserve is a size, or 0B.
type Reserve spec.Bytes

// MarshalText implements encoding.TextMarshaler.
func (r Reserve) MarshalText() ([]byte, error) { return spec.Bytes(r).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Reserve) UnmarshalText(text []byte) error {
	if string(text) == "0B" {
		*r = 0
		return nil
	}
	n, err := spec.ParseBytes(string(text))
	*r = Reserve(n)
	return err
}

// Default gives the configuration of a node without a file. It touches nothing outside of its own device, prefixes,
// cgroup and folders.
func Default() Config {
	c := base()
	c.derive()
	return c
}

// base has the defaults that depend on nothing.
func base() Config {
	return Config{
		Device:      "fc0",
		Prefixes:    []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd77:fc::/64")},
		Uplinks:     []string{},
		Attach:      "auto",
		StateDir:    "/var/lib/fcnode",
		RunDir:      "/run/fcnode",
		VolumeRoots: []string{"/srv", "/var/www", "/var/lib/fcnode-volumes"},
		NFSRoots:    []string{},
		SecretRoots: []string{"/etc/fcnode/secrets"},
		BPFFS:       "/sys/fs/bpf",
		CgroupRoot:  "auto",
		SitesDir:    "/etc/fcnode/sites",
		SocketGroup: "fcnode",
		Access:      Access{Read: []string{}, Operate: []string{}, Admin: []string{}},
		Pool:        4,
		Runners:     2,
		MaxSites:    131072,
		Flows:       Flows{Max: 65536, PerSite: 4096},
		Deletion:    Deletion{Share: 50, Reserve: spec.Duration(7 * 24 * time.Hour)},
		Network:     spec.Network{Rate: spec.NetworkRate{Connections: 100, Packets: 20_000}},
		Firewall:    "respect",
		Registries:  Registries{Auth: "/etc/fcnode/registries.json", Mirrors: map[string][]string{}, Insecure: []string{}},
		Trust:       []Trust{},
		Images:      Images{Bytes: 32 * spec.GiB, Entries: 1_000_000, Time: spec.Duration(time.Hour)},
		Hold:        Hold{PerSite: 64, Total: 4096, Deadline: spec.Duration(30 * time.Second), Silence: spec.Duration(10 * time.Second)},
		Wake: Wake{
			Unused: spec.Duration(10 * time.Second),
			Source: Tokens{Burst: 64, Every: spec.Duration(time.Second)}, Site: Tokens{Burst: 8, Every: spec.Duration(5 * time.Second)}, Ahead: 600, Proof: "auto",
		},
		Keepalive:   spec.Keepalive(2 * time.Minute),
		UDPIdle:     spec.Keepalive(2 * time.Minute),
		Start:       Start{Timeout: spec.Duration(30 * time.Second)},
		Log:         Log{MaxSize: 10 * spec.MiB, Files: 3, Rate: LogRate{Bytes: spec.MiB, Lines: 2000}},
		Privileges:  Privileges{Capabilities: []spec.Capability{}, Userns: UsernsPrivate, AppArmor: AppArmorDefault},
		Busy:        Busy{Most: spec.Duration(6 * time.Hour)},
		Prepared:    Prepared{Max: 16, Memory: 256 * spec.MiB},
		Reclaim:     Reclaim{Keep: spec.MiB, Below: 50},
		Checkpoints: Checkpoints{Disk: 20 * spec.GiB, Timeout: spec.Duration(10 * time.Second)},
		Disk:        Disk{Reserve: Reserve(64 * spec.MiB)},
		Record:      Record{Keep: spec.Duration(14 * 24 * time.Hour), Disk: 64 * spec.MiB},
		Routes:      Routes{Group: "fcnode-gateway"},
	}
}

// derive fills in the defaults that follow from other fields or from where the program lies.
func (c *Config) derive() {
	if c.PinDir == "" {
		c.PinDir = filepath.Join(c.BPFFS, "fcnode")
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.RunDir, "fcnode.sock")
	}
	if c.Routes.Socket == "" {
		c.Routes.Socket = RoutesSocket(c.RunDir)
	}
	if c.Runner == "" {
		c.Runner = findRunner()
	}
	if _, said := c.Classes[StandardClass]; !said {
		c.Classes = maps.Clone(c.Classes)
		if c.Classes == nil {
			c.Classes = map[string]Class{}
		}
		c.Classes[StandardClass] = Class{}
	}
	for name, class := range c.Classes {
		class.Late, class.Over = cmp.Or(class.Late, spec.DefaultLate), cmp.Or(class.Over, spec.DefaultOver)
		c.Classes[name] = class
	}
}

// RoutesSocket is where the feed of routes is unless a file says: beside the run folder, which is root's alone.
func RoutesSocket(runDir string) string { return runDir + "-routes.sock" }

// findRunner looks beside the running program, so that a build tree and /usr/local need no configuration.
func findRunner() string {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "fcnode-runner")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside
		}
	}
	return installedRunner
}
