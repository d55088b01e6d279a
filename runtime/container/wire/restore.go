package wire

import (
	"time"

	"github.com/fcnode/fcnode/runtime/volume"
)

// RestoreRequest asks a waiting shim to restore a container from a checkpoint. Two
// descriptors go with it: the network namespace, and the folder of the checkpoint, which
// is held (criu.Hold) from before the request until nobody reads it any more. A StartReply
// answers it.
type RestoreRequest struct {
	ID     string   `json:"id"`
	Sent   int64    `json:"sent"` // CLOCK_MONOTONIC, ns
	Dir    string   `json:"dir"`  // the replica's folder below the run dir
	Rootfs string   `json:"rootfs"`
	Lower  []string `json:"lower"` // top first
	Upper  string   `json:"upper"`
	Work   string   `json:"work"`

	ReadOnlyRoot  bool `json:"read_only_root,omitempty"` // after CRIU, which cannot restore such a root
	NewPrivileges bool `json:"new_privileges,omitempty"` // set-user-ID bits of the root file system count

	AppArmor string `json:"apparmor,omitempty"` // the profile of the processes in the image

	ShmSize int64 `json:"shm_size,omitempty"` // as in a StartRequest

	Timeout time.Duration `json:"timeout"` // of the restore; then for each step of a server of memory

	Lazy  bool   `json:"lazy,omitempty"`  // memory comes on demand
	Spent string `json:"spent,omitempty"` // the folder, to be removed when it is not needed any more

	Memory []MemoryFile `json:"memory"` // to be verified before anything runs

	Binds       []Bind   `json:"binds"`
	VolumeRoots []string `json:"volume_roots"` // as in a StartRequest
	OwnFolders  []string `json:"own_folders"`  // the same
	SecretRoots []string `json:"secret_roots"` // the same

	User string `json:"user"` // the same: whose secrets are
	// InMemory are secrets that the processes have in their environment.
	InMemory []volume.Source `json:"in_memory,omitempty"`

	Streams Streams  `json:"streams"` // the pipes at the dump
	Owners  *Owners  `json:"owners,omitempty"`
	Nulls   []string `json:"nulls"` // CRIU's names of files that are /dev/null

	Monitor Monitor `json:"monitor"`
}

// MemoryFile is a criu.File: the runner, which has this package too, is to stay without CRIU's.
type MemoryFile struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	CRC     uint32 `json:"crc32c"`
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"`
}

// Bind is a mount of a container that is not in its image: where it comes from
// is said at the restore.
type Bind struct {
	Key    string   `json:"key"`
	Kind   BindKind `json:"kind"`
	Volume Mount    `json:"volume,omitzero"` // how it is mounted now
}

// BindKind says what is mounted.
type BindKind string

// The kinds of binds.
const (
	BindDev    BindKind = "dev"    // a fresh /dev
	BindShm    BindKind = "shm"    // a fresh /dev/shm
	BindNull   BindKind = "null"   // the device that hides a file
	BindEmpty  BindKind = "empty"  // the folder that hides a folder
	BindCgroup BindKind = "cgroup" // the replica's own cgroup
	BindSys    BindKind = "sys"    // a fresh /sys, which in a user namespace nobody can mount
	BindVolume BindKind = "volume"
)

// StageFailed says why the stage, the process that becomes CRIU, could not.
type StageFailed struct {
	Error *Error `json:"error"`
}

// Streams are the pipes of a container's output, by inode.
type Streams struct {
	Stdout uint64 `json:"stdout"`
	Stderr uint64 `json:"stderr"`
}

// Owner is whose a pipe of the output is, and who may open it: a program opens
// /dev/stdout anew. In a user namespace the numbers are those of the namespace.
type Owner struct {
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	Mode uint32 `json:"mode"` // the permissions
}

// Owners are those of both pipes; nil in an image of before they were recorded.
type Owners struct {
	Stdout Owner `json:"stdout"`
	Stderr Owner `json:"stderr"`
}

// Dump is what is written down while a container is dumped.
type Dump struct {
	CRIU         Process `json:"criu"`
	ReadOnlyRoot bool    `json:"read_only_root,omitempty"` // the root is writable meanwhile
}
