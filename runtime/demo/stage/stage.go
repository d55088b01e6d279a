package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/api"
)

// The stage's network. The prefixes are those for documentation (RFC 5737).
const (
	Uplink     = "uplink0"
	NodeAddr   = "198.51.100.1"
	ClientAddr = "198.51.100.2"
	prefixLen  = "/24"
)

// Stage is a node and a client.
type Stage struct {
	Dir     string // of all its files
	Program string // fcnode
	Client  *Client
	API     *api.Client

	daemon   *exec.Cmd
	machines []*Client // besides the client
	more     string    // of the daemon's configuration
}

// Command makes a command that runs the program's args in namespaces of their
// own, in which Open works.
func Command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	return cmd
}

// Open sets the stage in an existing empty folder. The process must be in
// namespaces of its own (see Command). more is appended to the daemon's
// configuration.
func Open(dir, program, more string) (s *Stage, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s = &Stage{Dir: dir, Program: program, more: more}
	if err := mounts(dir); err != nil {
		return nil, err
	}
	if s.Client, err = newMachine(Uplink, NodeAddr, ClientAddr); err != nil {
		return nil, err
	}
	if err := s.writeConfig(); err != nil {
		return nil, errors.Join(err, s.Client.close())
	}
	s.API = api.NewClient(s.Socket())
	return s, nil
}

// Machine adds one, a database server for instance, before Start. Its network is another
// one of the node's, behind a device with the name of the cable. It ends with the
// stage.
func (s *Stage) Machine(cable, nodeAddr, addr string) (*Client, error) {
	m, err := newMachine(cable, nodeAddr, addr)
	if err != nil {
		return nil, err
	}
	s.machines = append(s.machines, m)
	return m, s.writeConfig()
}

// StateOn has the daemon keep its state in an empty folder elsewhere, before Start: on a disk, where files can leave the page cache.
func (s *Stage) StateOn(dir string) error {
	at := s.File("state") // a real folder, as the daemon wants it
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil { // this mount namespace is the stage's
		return fmt.Errorf("mount %s on %s: %w", dir, at, err)
	}
	return nil
}

// Socket is the path of the daemon's API.
func (s *Stage) Socket() string { return filepath.Join(s.Dir, "run", "fcnode.sock") }

// Config is the path of the daemon's configuration.
func (s *Stage) Config() string { return filepath.Join(s.Dir, "fcnode.yaml") }

// File is a path in the stage's folder.
func (s *Stage) File(name string) string { return filepath.Join(s.Dir, name) }

// mounts gives the stage a tmpfs for all its files and a BPF file system.
func mounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts to this process: %w", err)
	}
	if err := unix.Mount("fcnode", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	bpffs := filepath.Join(dir, "bpf")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", bpffs, err)
	}
	return nil
}
