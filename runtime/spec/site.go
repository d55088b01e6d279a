package spec

import (
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Error is one complaint about a file: what is wrong, at which line and column, and what is allowed there.
type Error = strictyaml.Error

// Errors is everything that is wrong with a file or folder; errors.As finds the single *Error.
type Errors = strictyaml.Errors

// Site is what one hosted service is made of.
//
// The comments of the fields are the descriptions in the JSON Schema. The tag `also` lists words for which the reader suggests
// the field.
type Site struct {
	// Name of the site, unique on the node: a DNS label of up to 63 characters (a-z, 0-9, "-").
	Name string `json:"name" jsonschema:"required"`

	// Domains are the host names of the site, unique on the node, by which fcnode-gateway finds it.
	Domains []string `json:"domains,omitempty" also:"domain,hosts,host,hostnames"`

	// Gateway says how fcnode-gateway serves the domains.
	Gateway Gateway `json:"gateway,omitzero" also:"ingress,proxy,frontend"`

	// Image holds the root file system: oci:/path[:tag] (OCI layout), docker-archive:/path.tar[:name:tag] (docker save) or
	// dir:/path (a plain root directory).
	Image string `json:"image" jsonschema:"required"`

	// Entrypoint replaces the image's entrypoint, and with it the image's command. Default: the image's.
	Entrypoint []string `json:"entrypoint,omitzero"`

	// Command is what follows the entrypoint: its arguments, or the whole command line where there is no entrypoint.
	// Default: the image's.
	Command []string `json:"command,omitzero" also:"cmd,args,arguments,exec"`

	// Env is added to the environment of the image; a name that is there already is replaced.
	Env map[string]string `json:"env,omitempty" also:"environment,variables,vars"`

	// Workdir is the absolute path in which the site starts. Default: the image's, else "/".
	Workdir string `json:"workdir,omitempty" also:"workingdir,cwd,workingdirectory"`

	// User the site runs as: name or number of the user in the image, with :group if wanted. Default: the image's, else root.
	User User `json:"user,omitempty" also:"runas,uid"`

	// Capabilities are changes of the capabilities that the site's root has.
	Capabilities Capabilities `json:"capabilities,omitzero" also:"caps,cap_add,cap_drop"`

	// NoNewPrivileges keeps programs from having more rights than who executes them: set-user-ID bits and file capabilities do not count.
	// False only where privileges.newPrivileges of the node's configuration allows it. Default: true.
	NoNewPrivileges *bool `json:"noNewPrivileges,omitempty" also:"no_new_privs,allowprivilegeescalation"`

	// Userns is the user namespace of each replica: host (that of the machine) or private (one of its own: root and all other users
	// of the replica are users of the machine that nobody else has, while files keep their owners). Default: what privileges.userns
	// of the node's configuration says.
	Userns string `json:"userns,omitempty" also:"usernamespace,usernsmode"`

	// AppArmor is the profile of the replicas' processes where the kernel has AppArmor: default (fcnode's), unconfined (none), or the
	// name of one that is loaded on the node. Default: what privileges.apparmor of the node's configuration says.
	AppArmor string `json:"apparmor,omitempty" also:"apparmorprofile,profile"`

	// Hostname seen inside of the site. Default: the name of the site.
	Hostname string `json:"hostname,omitempty"`

	// Addresses are fixed addresses (VIPs) out of the node's prefixes: at most one IPv4 and one IPv6 address, unique on
	// the node. Default: the node allocates one of each family that it has a prefix of.
	Addresses []netip.Addr `json:"addresses,omitempty" also:"address,ip,ips,vip,vips"`

	// Ports on which the site answers, 1 to 32 of them or ranges: 80/tcp, 53/udp, 5000-5100/udp. Without a protocol it is tcp.
	Ports []Port `json:"ports" jsonschema:"required" also:"port,expose,listen"`

	// Network says to whom the site may open connections. Default: the Internet, but for port 25; not the node, its other networks and
	// other sites.
	Network Network `json:"network,omitzero" also:"egress,firewall,policy,outbound"`

	// Needs are other sites of the node, up to 16, that are woken as soon as this one wakes, beside it, as a database is. They need no place here
	// to be woken: connecting to them does it, later. network.allow has to name them as site:NAME.
	Needs []string `json:"needs,omitempty" also:"dependson,requires,depends,with"`

	// Ignore lists sources of packets that are no visits, like uptime monitors: they neither wake the site nor keep it awake. A plain list is
	// its sources. Default: those of the node's configuration alone.
	Ignore Ignored `json:"ignore,omitzero" also:"ignored,monitors,bots,exclude"`

	// Volumes are folders and files of the node bound into the site, mounted in this order.
	Volumes []Volume `json:"volumes,omitempty" also:"mounts,binds"`

	// Secrets are passwords, keys and the like: files of the node's that are root's alone, copied into the site's memory or put into its
	// environment at each start.
	Secrets []Secret `json:"secrets,omitempty" also:"secret,credentials,passwords,keys"`

	// ImageVolumes says what becomes of the folders that the image declares as VOLUME and that none of volumes covers: keep gives each
	// a named volume, ignore leaves it in the root file system, where what the site writes is lost when it is parked. Default: keep.
	ImageVolumes string `json:"imageVolumes,omitempty"`

	// Limits of each replica, and on disk of all of them. What is left out is not limited, except for pids.
	Limits Limits `json:"limits" also:"resources,limit"`

	// Scale is how many replicas there may be.
	Scale Scale `json:"scale" also:"replicas,scaling,autoscale"`

	// Idle is how long a site without any connection stays awake before it goes to sleep, to the first of its tiers: a
	// duration from 1s, auto (the node's choice, by its plan: some seconds where a wake is quick), or never. Default: auto;
	// tiers[0].after where it is given, 5m where only later tiers have their times; never where scale.min is 1 or more.
	Idle Idle `json:"idle" also:"idletimeout,timeout,ttl"`

	// Tiers are how deep the site may sleep, and after how long without a connection: auto (the node plans, by the site's pauses
	// and what its wakes cost), or a list of frozen, reclaimed, prepared, checkpointed, cold in this order. Default: auto.
	Tiers Tiers `json:"tiers,omitzero" also:"tier,ladder,rungs,sleep"`

	// KeepConnections is how long the site may hold connections of its own, to a database, say, while it sleeps frozen or reclaimed, 1s to 8784h.
	// Then it goes on to a tier without processes. Default: for as long as it sleeps so.
	KeepConnections Duration `json:"keepConnections,omitzero" also:"holdconnections,keepconns,maxheld"`

	// Busy is what counts as work of the site's own, which keeps it awake without visitors; false: nothing does. Default: it uses 5% of a
	// core, reads and writes 1MiB/s, or bytes move on connections that it has opened itself.
	Busy Busy `json:"busy,omitzero" also:"work,background"`

	// Schedule are commands that the node runs in the site at their times, and wakes it for; they are no visits.
	Schedule []Task `json:"schedule,omitempty" also:"cron,crontab,cronjobs,tasks,jobs"`

	// Class is the service level that the site shares with others: one of classes of the node's configuration. Default: standard.
	Class string `json:"class,omitempty" also:"tariff,plan,sla,priority"`

	// Objective is a service level of the site's own, in the place of its class's.
	Objective Objective `json:"objective,omitzero" also:"objectives,slo,slos"`

	// Lifetime of a replica, after which it is circulated: replaced by a fresh one. A duration from 1s, auto, never, or a mapping.
	// Default: never.
	Lifetime Lifetime `json:"lifetime,omitzero" also:"maxage,age,maxlifetime"`

	// Circulate says how a replica is replaced by a fresh one.
	Circulate Circulate `json:"circulate,omitzero" also:"circulation,rollout,update"`

	// Checkpoint says how images of the running site are taken.
	Checkpoint Checkpoint `json:"checkpoint,omitzero" also:"checkpoints,criu,snapshot"`

	// Ready says when a replica that has started may get visitors: when one of its ports is listened on and this probe has passed.
	// Default: as soon as somebody listens.
	Ready Probe `json:"ready,omitzero" also:"readiness,readinessprobe,startupprobe"`

	// Health is a probe of each replica that serves; one that fails is circulated. Default: none.
	Health Health `json:"health,omitzero" also:"healthcheck,healthprobe,liveness,livenessprobe"`

	// Keepalive is after how long the connection of a client is ended that has gone without a word, so that it does not keep the site awake:
	// off, or a duration of whole seconds from 10s to 12h. Default: keepalive of the node's configuration.
	Keepalive Keepalive `json:"keepalive,omitzero" also:"tcpkeepalive,so_keepalive,halfopen"`

	// UDPIdle is after how long without a datagram, in either direction, a flow of UDP is over that has lasted: until then it keeps the
	// site awake, and a draining replica. off, or a duration of whole seconds from 10s to 12h. Default: udpIdle of the node's configuration.
	UDPIdle Keepalive `json:"udpIdle,omitzero" also:"udptimeout,udpidletimeout,flowtimeout"`

	// Start of the site.
	Start Start `json:"start,omitzero" also:"startup"`

	// Stop of the site.
	Stop Stop `json:"stop" also:"shutdown"`

	// ReadOnlyRoot makes the root file system read-only; volumes stay as they say, and /tmp, /run and /var/tmp are in memory unless tmpfs says
	// otherwise. Default: false, and what the site writes outside of its volumes is lost when it is parked.
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty" also:"readonly,readonlyrootfs"`

	// Tmpfs are folders in memory, which is the site's memory; each replica has its own. Default: none; with readOnlyRoot /tmp, /run and
	// /var/tmp, as far as no volume covers them. An empty list is none at all.
	Tmpfs []Tmpfs `json:"tmpfs,omitzero" also:"tmpfses,ramdisk,inmemory"`

	// ShmSize is the size of /dev/shm, from 64KiB. What is in it is the site's memory. Default: 64MiB.
	ShmSize Bytes `json:"shmSize,omitzero" also:"shm,shm_size,devshm"`

	// Architectures are those of the programs that the site may run: the node's own, amd64 or arm64, and its 32-bit one, 386 or arm. A program of
	// another one is killed at its first system call. Default: the node's own alone.
	Architectures []Architecture `json:"architectures,omitempty" also:"architecture,arch,archs,platform,platforms"`

	// Init has a small process of fcnode's as the first of the site: it reaps processes that others leave behind, passes signals on to the
	// site's program, and ends as that does. For programs that were not made to be process 1. Default: false.
	Init bool `json:"init,omitempty" also:"tini,dumbinit,reaper"`

	// DNS is how the site resolves names; a plain list is its servers. Default: as the node's configuration says, else as the node itself.
	DNS DNS `json:"dns,omitzero" also:"resolver,nameservers,nameserver,dnssearch"`

	// ExtraHosts are names that the site finds in its /etc/hosts, each with its address or a list of them.
	ExtraHosts map[string]HostAddrs `json:"extraHosts,omitempty" also:"hostaliases,addhost"`
}

// Volume binds a folder or file of the node, or a volume that the node keeps for the site, into the site. All data that must outlive a replica
// belongs into one. It has a source or a name.
type Volume struct {
	// Name of a volume that the node keeps for the site: 1 to 63 of a-z, 0-9 and "-". It is filled from the image when it is new, and stays
	// when the site sleeps, circulates and is deleted, unless by delete --purge.
	Name string `json:"name,omitempty" also:"volume"`
	// Source is the absolute path on the node: of a folder, a file or a socket below one of the volumeRoots of the node's configuration, without
	// symbolic links (but see follow). It must exist when the site starts. A replica that sleeps while something else is put there is not woken
	// but replaced by a fresh one.
	// nfs://SERVER/PATH is a folder that a server exports, below one of the nfsRoots of the node's configuration. The node mounts it at each start of
	// the site (NFS 4.2 or 4.1), which fails while the server is away; it needs userns: host.
	Source string `json:"source,omitempty" also:"src,hostpath,from"`
	// Target is the absolute path inside of the site.
	Target string `json:"target" jsonschema:"required" also:"dst,destination,mountpath,containerpath,to"`
	// Follow allows the source itself to be a symbolic link, to something below the folder that the link is in, as deployments have it: current,
	// which leads to releases/42. Where it leads is looked up at each start. Default: false.
	Follow bool `json:"follow,omitempty" also:"followlink,followlinks,followsymlinks,symlink"`
	// Mountpoint says that a file system is mounted at the source: the site does not start while none is, and so does not write into the empty
	// folder below it. Default: false.
	Mountpoint bool `json:"mountpoint,omitempty" also:"mounted,ismountpoint"`
	// Soft has accesses to a source by NFS fail (ETIMEDOUT) when the server has not answered for half a minute. Default: false (hard): they wait
	// until it does.
	Soft bool `json:"soft,omitempty" also:"softerr"`
	// ReadOnly volumes cannot be written by the site. Default: false.
	ReadOnly bool `json:"readOnly,omitempty" also:"ro"`
	// Suid makes set-user-ID bits and file capabilities in the volume count. Default: false (nosuid).
	Suid bool `json:"suid,omitempty" also:"setuid"`
	// Dev makes device nodes in the volume work, as far as the site may use devices at all. Default: false (nodev).
	Dev bool `json:"dev,omitempty" also:"devices"`
	// NoExec keeps the site from executing programs that are in the volume. Default: false.
	NoExec bool `json:"noExec,omitempty" also:"noexec"`
}

// Limits are what one replica may use, through cgroup v2, and what all of them may keep on disk.
type Limits struct {
	// CPU time in cores. A plain number is the maximum.
	CPU CPULimits `json:"cpu,omitzero" also:"cpus"`
	// Memory in bytes with a unit (128MiB). A plain size is the maximum.
	Memory MemoryLimits `json:"memory,omitzero" also:"mem,ram"`
	// Pids is the most processes and threads at once, 1 to 4194304. A plain number is the maximum. Default: 2048.
	Pids PidsLimits `json:"pids" also:"processes,pidslimit,tasks"`
	// IO limits reading and writing, one entry for each device.
	IO []IOLimit `json:"io,omitempty" also:"blkio,disks,iops"`
	// Disk is what the site may keep in the state folder: the writable layers of all its replicas, its checkpoint and its log; not its
	// volumes. A plain size is bytes.
	Disk DiskLimits `json:"disk,omitzero" also:"storage,quota,ephemeralstorage,storageopt"`
}

// DiskLimits are the most that a site may keep. What is left out is not limited.
type DiskLimits struct {
	// Bytes with a unit (10GiB), from 1MiB.
	Bytes Bytes `json:"bytes,omitzero" also:"size,max,limit" alone:"true"`
	// Inodes is how many files, folders and links, from 1000: 500k, 1M.
	Inodes Count `json:"inodes,omitzero" also:"files,inode"`
}

// CPULimits are shares and limits of CPU time. Where min is less than max the limit is scaled in place between them.
type CPULimits struct {
	// Min is the weight when the node's CPUs are contended, in cores (cpu.weight: 100 for a core), and with max the limit from
	// which scaling starts. Default: as for 1, and nothing is scaled.
	Min CPU `json:"min,omitzero" also:"request,requests,weight,shares"`
	// Max is the most that is given, in cores (cpu.max). Default: no limit.
	Max CPU `json:"max,omitzero" also:"limit,quota" alone:"true"`
	// Step is the factor of one raise, 1.1 to 16. Default: 2.
	Step float64 `json:"step,omitzero" also:"factor"`
}

// MemoryLimits are protections and limits of memory. Where min is less than max, memory.high is scaled in place between them.
type MemoryLimits struct {
	// Min is kept from being reclaimed while others have memory to spare (memory.low), and with max the mark from which
	// scaling starts. Default: nothing, and nothing is scaled.
	Min Bytes `json:"min,omitzero" also:"low,request,requests,reservation"`
	// High is from where on the kernel reclaims and slows the site down (memory.high); where memory is scaled, the highest
	// such mark. Default: no such mark; max where memory is scaled.
	High Bytes `json:"high,omitzero" also:"soft"`
	// Max is from where on the kernel kills (memory.max). Default: no limit.
	Max Bytes `json:"max,omitzero" also:"limit,hard" alone:"true"`
	// Step is the factor of one raise, 1.1 to 16. Default: 2.
	Step float64 `json:"step,omitzero" also:"factor"`
	// Follow makes memory.max follow memory.high at a distance of a quarter (16MiB at least), up to max, so that the kernel holds the site to
	// what it was given. Default: false, and memory.max is max at all times.
	Follow bool `json:"follow,omitzero" also:"following"`
	// Swap is how much of the site may lie in swap while it is awake (memory.swap.max): none, unlimited, or a size. A site that sleeps is never
	// bounded. Default: none where max is given, so that max is all that the site has; else unlimited.
	Swap Swap `json:"swap,omitzero" also:"swapmax,memoryswap"`
}

// IOLimit limits reading and writing on one device (io.max). What is left out is not limited. A plain value is the maximum; where min is less
// than max the rate is scaled in place between them.
type IOLimit struct {
	// Device is the absolute path of a block device, or of something on the file system whose device is meant.
	Device string `json:"device" jsonschema:"required" also:"path,dev,mount"`
	// ReadBytes is how much may be read in a second.
	ReadBytes ByteRate `json:"rbps,omitzero" also:"read,readbps"`
	// WriteBytes is how much may be written in a second.
	WriteBytes ByteRate `json:"wbps,omitzero" also:"write,writebps"`
	// Reads is how many read operations may be made in a second.
	Reads OpsRate `json:"riops,omitzero" also:"readiops"`
	// Writes is how many write operations may be made in a second.
	Writes OpsRate `json:"wiops,omitzero" also:"writeiops"`
}

// Scale is the number of replicas, and what makes it grow and shrink between min and max.
type Scale struct {
	// Min is 0 (asleep when idle, the default), or how many replicas are always awake.
	Min int `json:"min"`
	// Max is the most replicas, 1 to 15. Default: 1.
	Max int `json:"max"`
	// Target is what each replica should carry. Default: the node sees by queues, latency and pressure that a replica is full.
	Target Target `json:"target,omitzero" also:"targets,metrics"`
	// Spare are replicas that stand ready to be added, so that scaling out does not wait for a start: a number, frozen, prepared, or a
	// mapping. Default: none.
	Spare Spare `json:"spare,omitzero" also:"spares,standby,ahead,warm"`
}

// Target is what each replica should carry at most; past it the site is scaled out.
type Target struct {
	// Conns is how many connections a replica should carry, 1 to 1000000.
	Conns int `json:"conns,omitzero" also:"connections,concurrency"`
	// Latency is how long 99 in 100 requests may take at most, 1ms to 10m.
	Latency Duration `json:"latency,omitzero" also:"p99,responsetime"`
}

// Start says how a wake goes.
type Start struct {
	// Timeout is how long the site may take from its start until it listens on a port, 100ms to 1h. Then the start has failed. Default:
	// start.timeout of the node's configuration.
	Timeout Duration `json:"timeout,omitzero" also:"deadline"`
}

// Stop says how the site is ended when it is parked or deleted.
type Stop struct {
	// Grace is the time between the signal and the kill, 0s to 1h. Default: 10s.
	Grace Duration `json:"grace" also:"graceperiod,timeout,terminationgraceperiod"`
	// Signal that asks the site to end. Default: the image's, else SIGTERM.
	Signal string `json:"signal,omitempty" also:"stopsignal,killsignal"`
}

// The defaults that stand here and not on the node.
const (
	ListIdle     = Duration(5 * time.Minute) // of lists of tiers in which only later ones have their times
	DefaultGrace = Duration(10 * time.Second)
	DefaultPids  = 2048
	DefaultStep  = 2.0
)

// defaults is the site of which everything is left out.
func defaults() Site {
	return Site{
		Limits:     Limits{Pids: PidsLimits{Max: DefaultPids}},
		Scale:      Scale{Max: 1},
		Tiers:      Tiers{Auto: true},
		Busy:       defaultBusy,
		Lifetime:   defaultLifetime,
		Circulate:  defaultCirculate,
		Checkpoint: defaultCheckpoint,
		Stop:       Stop{Grace: DefaultGrace},
	}
}

// New is a site of which everything but its name is left out.
func New(name string) Site {
	s := defaults()
	s.Name = name
	s.complete()
	return s
}

// complete fills in the defaults that follow from other fields, and makes one of two ways to say nothing: an empty list of domains is no
// list. An empty command is not, as it replaces that of the image.
func (s *Site) complete() {
	if len(s.Domains) == 0 {
		s.Domains = nil
	}
	if len(s.Gateway.Ignore.UserAgents) == 0 {
		s.Gateway.Ignore.UserAgents = nil
	}
	if len(s.Gateway.Ignore.Paths) == 0 {
		s.Gateway.Ignore.Paths = nil
	}
	if len(s.Env) == 0 {
		s.Env = nil
	}
	if len(s.ExtraHosts) == 0 {
		s.ExtraHosts = nil
	}
	if len(s.DNS.Servers) == 0 {
		s.DNS.Servers = nil
	}
	if len(s.Addresses) == 0 {
		s.Addresses = nil
	}
	if len(s.Ignore.Sources) == 0 {
		s.Ignore.Sources = nil
	}
	if len(s.Network.Allow) == 0 {
		s.Network.Allow = nil
	}
	if len(s.Network.Deny) == 0 {
		s.Network.Deny = nil
	}
	if len(s.Schedule) == 0 {
		s.Schedule = nil
	}
	if len(s.Volumes) == 0 {
		s.Volumes = nil
	}
	if len(s.Secrets) == 0 {
		s.Secrets = nil
	}
	if len(s.Architectures) == 0 {
		s.Architectures = nil
	}
	if len(s.Capabilities.Add) == 0 {
		s.Capabilities.Add = nil
	}
	if len(s.Capabilities.Drop) == 0 {
		s.Capabilities.Drop = nil
	}
	if !s.NewPrivileges() {
		s.NoNewPrivileges = nil
	}
	if s.ImageVolumes == imageVolumesKeep {
		s.ImageVolumes = ""
	}
	if len(s.Limits.IO) == 0 {
		s.Limits.IO = nil
	}
	steps := []*float64{&s.Limits.CPU.Step, &s.Limits.Memory.Step, &s.Limits.Pids.Step}
	for i := range s.Limits.IO {
		l := &s.Limits.IO[i]
		steps = append(steps, &l.ReadBytes.Step, &l.WriteBytes.Step, &l.Reads.Step, &l.Writes.Step)
	}
	for _, step := range steps {
		if *step == DefaultStep {
			*step = 0
		}
	}
	if s.Hostname == "" {
		s.Hostname = s.Name
	}
	s.Scale.Spare.complete()
	if s.Idle == (Idle{}) {
		switch first := s.Tiers.first(); {
		case s.Scale.Min > 0:
			s.Idle = Idle{Never: true}
		case first != 0:
			s.Idle = Idle{After: first}
		case s.Tiers.Timed():
			s.Idle = Idle{After: ListIdle}
		default:
			s.Idle = Idle{Auto: true}
		}
	}
}

// Args gives the command line of the site on an image with this entrypoint and command. It is empty when neither says anything, and the
// site cannot start.
func (s *Site) Args(entrypoint, command []string) []string {
	if s.Entrypoint != nil {
		entrypoint, command = s.Entrypoint, nil
	}
	if s.Command != nil {
		command = s.Command
	}
	return append(append([]string(nil), entrypoint...), command...)
}
