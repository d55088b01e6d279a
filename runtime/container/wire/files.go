package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fcnode/fcnode/runtime/file"
)

// The files in a replica's folder.
const (
	StateFile = "state.json"
	InitFile  = "init.json"
	ExitFile  = "exit.json"
	// StreamsFile is written by the shim: which pipes are the container's output.
	StreamsFile = "streams.json"
	// LazyFile is there while memory of a restored container is missing.
	LazyFile = "lazy"
	// LibFile is libcontainer's record at the dump, beside the images of a checkpoint: too large to be sent and
	// decoded in the middle of a restore.
	LibFile = "libcontainer.json"
	// DumpFile names, while a checkpoint is made, CRIU's process.
	DumpFile = "dump.json"
)

// The folders in the node's run dir.
const (
	ReplicasDir = "replicas"     // one folder for each replica
	LibDir      = "libcontainer" // libcontainer's own state, one folder for each cgroup
	RootfsDir   = "rootfs"       // where each container's root is mounted, in its own mount namespace
	SystemDir   = "system"       // the same for what is mounted into it
)

// SystemMounts are the mount points in SystemDir.
func SystemMounts() []string { return []string{"proc", "dev", "sys"} }

// State is what is known of a replica before it is started.
type State struct {
	Version    int               `json:"version"` // of who wrote it; 0 before there were any
	ID         string            `json:"id"`
	Site       string            `json:"site"`
	Created    time.Time         `json:"created"`
	Shim       Process           `json:"shim"`
	Cgroup     string            `json:"cgroup"` // name below the parent cgroup
	Upper      string            `json:"upper"`
	Work       string            `json:"work"`
	LogDir     string            `json:"log_dir"`
	StopSignal int               `json:"stop_signal"`
	Meta       map[string]string `json:"meta,omitempty"`
	Privileges Privileges        `json:"privileges"`
	IDs        IDs               `json:"ids,omitempty"`
}

// IDs are the users and groups of a container with a user namespace of its own,
// by the machine's number of the first one, its root. 0: it has none.
type IDs uint32

// IDCount is how many users and groups such a container has.
const IDCount = 1 << 16

// Exit is how a container ended.
type Exit struct {
	Code   int       `json:"code"`             // of the program; 128+n when a signal ended it
	Signal string    `json:"signal,omitempty"` // e.g. SIGKILL
	OOM    bool      `json:"oom,omitempty"`    // the kernel killed in it for lack of memory
	At     time.Time `json:"at"`
	// Failed says why the container never ran, or could not go on.
	Failed string `json:"failed,omitempty"`
}

// Umask is that of every process of the node, whatever shell or service has
// started the daemon: users of containers read files and pass through folders
// that are made with their modes.
const Umask = 0o022

// WriteFile writes v as JSON to dir/name so that a reader sees all of it or
// nothing. It does not sync: the files matter for as long as the machine is up.
func WriteFile(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// ReadFile reads what WriteFile wrote.
func ReadFile(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	b, err := file.Read(path, file.Small)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}
