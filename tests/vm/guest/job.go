package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fcnode/fcnode/tests/vm/wire"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// runJob prepares the machine as a distribution would have and runs the job's binaries.
func runJob() error {
	host, err := openPort()
	if err != nil {
		return err
	}
	defer host.close()
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	host.say(wire.Message{Kind: wire.Boot, Text: unix.ByteSliceToString(uname.Release[:])})
	job, err := readJob()
	if err != nil {
		return err
	}
	if err := prepare(host, job.Modules); err != nil {
		host.note("preparing the machine: %v", err)
		return err
	}
	if err := runBinaries(host, job, false); err != nil {
		return err
	}
	if slices.ContainsFunc(job.Binaries, func(b wire.Binary) bool { return b.Systemd }) {
		err := becomeSystemd()
		host.note("%v", err)
		return err
	}
	host.say(wire.Message{Kind: wire.Done})
	return nil
}

func readJob() (wire.Job, error) {
	var job wire.Job
	raw, err := os.ReadFile(filepath.Join(jobDir, wire.JobFile))
	if err == nil {
		err = json.Unmarshal(raw, &job)
	}
	if err != nil {
		return job, fmt.Errorf("reading the job: %w", err)
	}
	return job, nil
}

// runBinaries runs those of the job's binaries that want systemd, or those that do not.
func runBinaries(host *port, job wire.Job, systemd bool) error {
	for _, b := range job.Binaries {
		if b.Systemd != systemd {
			continue
		}
		if err := runBinary(host, b, job); err != nil {
			host.note("running %s: %v", b.Package, err)
			return err
		}
	}
	return nil
}

// prepare mounts what an init system mounts, loads modules and hands all controllers down.
func prepare(host *port, modules []string) error {
	if err := mountAll([]mount{
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"devpts", "/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666"},
		{"cgroup2", cgroupRoot, "cgroup2", 0, "nsdelegate,memory_recursiveprot"},
		{"bpf", "/sys/fs/bpf", "bpf", 0, ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", 0, ""},
	}); err != nil {
		return err
	}
	for _, m := range modules {
		if out, err := exec.Command("modprobe", m).CombinedOutput(); err != nil {
			host.note("module %s: %s", m, strings.TrimSpace(string(out)))
		}
	}
	if err := delegateControllers(); err != nil {
		return err
	}
	if err := mountSpareDisks(); err != nil {
		return err
	}
	kind, err := enableSwap()
	if err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	host.note("swap: %s", kind)
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return unix.Sethostname([]byte("fcnode-vm"))
}

// delegateControllers lets the root's children use every controller the kernel has.
func delegateControllers() error {
	have, err := os.ReadFile(cgroupRoot + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("reading the controllers: %w", err)
	}
	for c := range strings.FieldsSeq(string(have)) {
		if err := os.WriteFile(cgroupRoot+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enabling controller %s: %w", c, err)
		}
	}
	return nil
}

// runBinary runs one test binary, sending on what it prints. That the tests fail is not an error here. One that hangs
// ends with the traces of its goroutines, before the host gives up this machine and the tests that are still to come.
func runBinary(host *port, b wire.Binary, job wire.Job) error {
	host.say(wire.Message{Kind: wire.Start, Package: b.Package})
	cmd := exec.Command(filepath.Join(jobDir, b.Path), b.Args...)
	cmd.Dir = filepath.Join(jobDir, b.Dir)
	cmd.Env = append(os.Environ(), job.Env...)
	out := &sender{host: host, pkg: b.Package, heard: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	if b.Plain {
		cmd.Stderr = &noter{host: host}
	}
	// A leaked process that holds the output must not hold up the machine.
	cmd.WaitDelay = 10 * time.Second
	begin := time.Now()
	err := cmd.Start()
	if err == nil {
		ended := make(chan struct{})
		if !b.Plain {
			go out.watch(cmd.Process, job.Silence, ended)
		}
		err = cmd.Wait()
		close(ended)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	code := cmd.ProcessState.ExitCode()
	if code == 0 && err != nil {
		code = 1
	}
	host.say(wire.Message{Kind: wire.Exit, Package: b.Package, Code: code, Seconds: time.Since(begin).Seconds()})
	return nil
}

// sender sends what is written to it as the output of a package.
type sender struct {
	host  *port
	pkg   string
	heard chan struct{} // something was written; of size 1
}

func (s *sender) Write(p []byte) (int, error) {
	select {
	case s.heard <- struct{}{}:
	default:
	}
	s.host.say(wire.Message{Kind: wire.Output, Package: s.pkg, Text: string(p)})
	return len(p), nil
}

// watch sends SIGQUIT, at which a Go program shows its goroutines and ends, to a process that has written nothing for so long.
func (s *sender) watch(p *os.Process, silence time.Duration, ended <-chan struct{}) {
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return
		case <-s.heard:
			timer.Reset(silence)
		case <-timer.C:
			s.host.note("%s said nothing for %v", s.pkg, silence)
			if err := p.Signal(unix.SIGQUIT); err != nil {
				s.host.note("ending %s: %v", s.pkg, err)
			}
			return
		}
	}
}

// noter sends what is written to it as notes.
type noter struct{ host *port }

func (n *noter) Write(p []byte) (int, error) {
	n.host.note("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// port is the line to the host.
type port struct {
	mu   sync.Mutex
	file *os.File
	enc  *json.Encoder
}

// openPort finds the port by its name in sysfs: no udev runs here to make links.
func openPort() (*port, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(name)) != wire.Port {
			continue
		}
		f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the port to the host: %w", err)
		}
		return &port{file: f, enc: json.NewEncoder(f)}, nil
	}
	return nil, fmt.Errorf("no virtio port named %s", wire.Port)
}

func (p *port) say(m wire.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.enc.Encode(m); err != nil {
		fmt.Fprintf(os.Stderr, "guest: telling the host %+v: %v\n", m, err)
	}
}

func (p *port) note(format string, args ...any) {
	p.say(wire.Message{Kind: wire.Note, Text: fmt.Sprintf(format, args...)})
}

func (p *port) close() {
	if err := p.file.Close(); err != nil {
		fmt.Fprintf(os.Stderr, "guest: closing the port to the host: %v\n", err)
	}
}
