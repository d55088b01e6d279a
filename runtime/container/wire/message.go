package wire

import (
	"time"

	"github.com/fcnode/fcnode/runtime/volume"
)

// Mount is a bind mount of a volume.
type Mount struct {
	Source   string `json:"source"` // absolute, on the host
	Target   string `json:"target"` // absolute, in the container
	ReadOnly bool   `json:"read_only,omitempty"`
	Suid     bool   `json:"suid,omitempty"`    // set-user-ID bits and file capabilities count
	Dev      bool   `json:"dev,omitempty"`     // device nodes work
	NoExec   bool   `json:"no_exec,omitempty"` // nothing in it can be executed

	Mountpoint bool `json:"mountpoint,omitempty"` // a file system has to be mounted at the source
	Follow     bool `json:"follow,omitempty"`     // the source may be a link, see volume.Source

	// Inside is what is mounted of the source: something that a restored container had mounted inside of a volume.
	Inside string `json:"inside,omitempty"`

	// NFS says that the source is what a server exports; it is mounted for this container.
	NFS *NFS `json:"nfs,omitempty"`

	// Tmpfs is a folder in memory instead, of at most Size bytes; 0: the kernel's default.
	Tmpfs bool  `json:"tmpfs,omitempty"`
	Size  int64 `json:"size,omitempty"`

	// Was is what the source has to be still; zero: it may be anything.
	Was volume.ID `json:"was,omitzero"`

	// Secret says that the source is a secret: what is mounted is a copy of it in
	// memory, which nobody can write to.
	Secret *Secret `json:"secret,omitempty"`
}

// NFS is how what a server exports is mounted.
type NFS struct {
	Server string        `json:"server"` // as the node's configuration says it
	Addr   string        `json:"addr"`   // the server's address, which has just answered
	Client string        `json:"client"` // this node's address, as the server sees it
	Port   uint16        `json:"port"`   // of the server
	Root   string        `json:"root"`   // what is mounted: the operator's
	Path   string        `json:"path"`   // from there to what is meant, which may be strangers'; clean, "." for the root itself
	Soft   bool          `json:"soft,omitempty"`
	Within time.Duration `json:"within"` // how long the mounting may take
}

// Secret says how a secret is seen in a container. What is in it goes with no
// message and is in no file: who makes the mount reads it.
type Secret struct {
	Owner string `json:"owner,omitempty"` // as StartRequest.User; "": that
	Mode  uint32 `json:"mode"`            // of files; folders can be entered by who can read them
}

// SecretVariable is a variable of the environment whose value is a secret.
type SecretVariable struct {
	Name   string `json:"name"`
	Source string `json:"source"` // absolute, on the host
}

// InitName begins the name of the first process of a container with one of
// fcnode's; cmd/fcnode-runner knows by it what it is to be.
const InitName = "/.fcnode-init-"

// StartRequest asks a waiting runner to make and start a container. One
// descriptor goes with it: the network namespace.
type StartRequest struct {
	ID           string   `json:"id"`
	Sent         int64    `json:"sent"` // CLOCK_MONOTONIC, ns
	Dir          string   `json:"dir"`  // the replica's folder below the run dir
	Rootfs       string   `json:"rootfs"`
	Lower        []string `json:"lower"` // top first
	Upper        string   `json:"upper"`
	Work         string   `json:"work"`
	Init         string   `json:"init,omitempty"` // in the container, of what executes Args and reaps; "": nothing does
	Args         []string `json:"args"`
	Env          []string `json:"env"`
	Cwd          string   `json:"cwd"`
	User         string   `json:"user"`
	Hostname     string   `json:"hostname"`
	ResolvConf   string   `json:"resolv_conf"`
	Hosts        string   `json:"hosts"`
	Mounts       []Mount  `json:"mounts"`
	VolumeRoots  []string `json:"volume_roots"` // what the sources lie below
	OwnFolders   []string `json:"own_folders"`  // what no source that is a link may lead to
	SecretRoots  []string `json:"secret_roots"` // what secrets lie below
	ReadOnlyRoot bool     `json:"read_only_root,omitempty"`
	ShmSize      int64    `json:"shm_size,omitempty"` // of /dev/shm; 0: as it is made
	Foreign      []string `json:"foreign,omitempty"`  // architectures besides the machine's, as the runner was started with
	Monitor      Monitor  `json:"monitor"`

	SecretEnv  []SecretVariable `json:"secret_env,omitempty"`
	Privileges Privileges       `json:"privileges"`
	// Hold makes the container wait just before its program is executed. There
	// are two answers then: one when it waits, one to the OpenRequest.
	Hold bool `json:"hold,omitempty"`
}

// Privileges are what the processes of a container may do beyond their user.
type Privileges struct {
	// Capabilities are the most that any of them has, as CAP_CHOWN, sorted.
	Capabilities []string `json:"capabilities"`
	// New lets a process that executes a set-user-ID program get its rights.
	New bool `json:"new,omitempty"`
	// AppArmor is the name of their profile; "": they have none.
	AppArmor string `json:"apparmor,omitempty"`
}

// OpenRequest lets a container that was started with Hold execute its program.
type OpenRequest struct {
	Sent int64 `json:"sent"` // CLOCK_MONOTONIC, ns
}

// Monitor is what the shim needs to know. The runner passes it on.
type Monitor struct {
	ID         string `json:"id"`
	Dir        string `json:"dir"`
	LogDir     string `json:"log_dir"`
	LogMaxSize int64  `json:"log_max_size,omitempty"` // bytes
	LogFiles   int    `json:"log_files,omitempty"`
	LogBytes   int64  `json:"log_bytes,omitempty"` // a second; 0: all are kept
	LogLines   int64  `json:"log_lines,omitempty"` // the same
	StopSignal int    `json:"stop_signal"`
}

// Started is the runner's message to the shim that the container's init exists.
type Started struct {
	Pid int `json:"pid"`
}

// Executed is the runner's last message to the shim: init may execute the
// container's program. Until then init waits, and would wait for ever.
type Executed struct{}

// Step is a moment of a start.
type Step struct {
	Name string `json:"name"`
	At   int64  `json:"at"` // CLOCK_MONOTONIC, ns
}

// StartReply answers a StartRequest.
type StartReply struct {
	Init  Init   `json:"init"`
	Steps []Step `json:"steps"`
	Error *Error `json:"error,omitempty"`
}

// Init is a container's init, and what it has mounted. It is InitFile, too.
type Init struct {
	Process
	Sources []volume.Source `json:"sources,omitempty"`
}

// Kind says what sort of failure an Error is.
type Kind string

// The kinds of failures that callers tell apart.
const (
	KindExec     Kind = "exec"     // the program cannot be executed
	KindRootfs   Kind = "rootfs"   // the root file system cannot be mounted
	KindUser     Kind = "user"     // the user is not in the image
	KindMount    Kind = "mount"    // a volume cannot be mounted
	KindGone     Kind = "gone"     // the container is not there any more
	KindNoSpace  Kind = "no-space" // the disk is full
	KindRestore  Kind = "restore"  // CRIU could not restore the checkpoint
	KindUnusable Kind = "unusable" // the checkpoint is damaged
	KindInternal Kind = "internal" // everything else
)

// Error is a failure that crosses a process boundary.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// ExecRequest asks a runner to start one more process in a running container.
type ExecRequest struct {
	ID     string   `json:"id"`
	Dir    string   `json:"dir"`     // the replica's folder below the run dir
	LibDir string   `json:"lib_dir"` // libcontainer's records
	Init   Process  `json:"init"`    // of the container, as the daemon knows it
	Cgroup string   `json:"cgroup"`  // absolute path of the replica's cgroup
	Group  string   `json:"group"`   // name of a fresh cgroup in it, of this exec alone
	Args   []string `json:"args"`
	Env    []string `json:"env"`
	Cwd    string   `json:"cwd"`
	User   string   `json:"user"`
	TTY    bool     `json:"tty,omitempty"`
	Cols   uint16   `json:"cols,omitempty"`
	Rows   uint16   `json:"rows,omitempty"`

	SecretEnv   []SecretVariable `json:"secret_env,omitempty"` // before those of Env
	SecretRoots []string         `json:"secret_roots,omitempty"`
}

// ExecStarted is the first answer to an ExecRequest. What the process' streams
// are joined to goes with it: with TTY the master side of the terminal, else
// the other ends of the pipes that are its standard input, output and error.
type ExecStarted struct {
	Pid   int    `json:"pid"`
	Error *Error `json:"error,omitempty"`
}

// ExecExited is the second answer to an ExecRequest, when the process and all
// that it has started have ended.
type ExecExited struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
	Error  *Error `json:"error,omitempty"` // something could not be ended
}

// ExecSignal asks the runner to signal the process.
type ExecSignal struct {
	Signal int `json:"signal"`
}
