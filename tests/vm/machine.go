package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/tests/vm/wire"
)

// accel is how QEMU runs the guest's instructions.
type accel struct {
	name  string
	args  []string
	scale float64 // how much longer the tests' deadlines must be
	// emulated machines do not run all tests (package left).
	emulated bool
}

// accelerator chooses KVM where it works. A /dev/kvm alone does not tell: on a machine
// without the processor's support it refuses Debian's kernels.
func accelerator(threads string) accel {
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // without it there is no sign of support
	supported := bytes.Contains(cpuinfo, []byte(" vmx ")) || bytes.Contains(cpuinfo, []byte(" svm "))
	if kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		_ = kvm.Close()
		if supported {
			return accel{name: "kvm", args: []string{"-accel", "kvm", "-cpu", "host"}, scale: 2}
		}
	}
	return accel{
		name: "tcg", args: []string{"-accel", "tcg,thread=" + threads + ",tb-size=512", "-cpu", emulatedCPU}, scale: 10, emulated: true,
	}
}

// emulatedCPU has all that QEMU knows but for what only makes it slower: a fifth of the processor time of a run. With erms and fsrm kernel and Go copy
// and clear memory by "rep movsb", which is carried out byte by byte; the kernel's protections against itself end a block of translated
// code at each access to user space.
const emulatedCPU = "max,la57=off,erms=off,fsrm=off,smap=off,smep=off,umip=off,pku=off"

// describe says in words what kind of machine it is.
func (a accel) describe() string {
	if a.emulated {
		return "QEMU, emulated (TCG)"
	}
	return "QEMU with KVM"
}

// machine is a running QEMU.
type machine struct {
	cmd      *exec.Cmd
	console  string
	messages net.Conn
	output   bytes.Buffer  // QEMU's own
	exited   chan struct{} // closed when QEMU has ended with exit
	exit     error
}

// startMachine starts QEMU and waits until it has connected the port for messages.
func startMachine(o options, a accel, img image, dir string) (*machine, error) {
	m := &machine{console: o.console, exited: make(chan struct{})}
	if m.console == "" {
		m.console = filepath.Join(dir, "console")
	}
	socket := filepath.Join(dir, "port")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for the machine's messages: %w", err)
	}
	defer listener.Close()
	args := slices.Concat([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35,hpet=off",
		"-smp", strconv.Itoa(o.cpus), "-m", strconv.Itoa(o.memory),
		"-kernel", img.kernel, "-initrd", filepath.Join(dir, "initramfs"),
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on cgroup_no_v1=all psi=1",
		"-serial", "file:" + m.console,
		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=port,path=" + socket,
		"-device", "virtserialport,chardev=port,name=" + wire.Port,
	}, drives(img.root, o.apps, dir), a.args)
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	m.cmd.Stdout, m.cmd.Stderr = &m.output, &m.output
	// Who kills this program shall not have to look for the machine.
	m.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting QEMU (`make deps-vm` installs it): %w", err)
	}
	go func() {
		m.exit = m.cmd.Wait()
		close(m.exited)
		_ = listener.Close() // nobody will connect any more
	}()
	m.messages, err = listener.Accept()
	if err != nil {
		<-m.exited
		return nil, fmt.Errorf("QEMU ended before it began: %w\n%s", m.exit, m.output.String())
	}
	return m, nil
}

// drives are the machine's disks, in the order in which the guest knows them (package wire).
func drives(root, apps, dir string) []string {
	var args []string
	for _, file := range []string{root, filepath.Join(dir, jobDisk), filepath.Join(dir, scratchDisk), filepath.Join(dir, swapDisk), apps} {
		if file != "" {
			// snapshot: what the guest writes goes to a temporary file, so that images serve any number of machines.
			args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,cache=unsafe,file="+file)
		}
	}
	return args
}

// follow hands the guest's messages to the reporter until the machine is off, and gives
// up when it says nothing for longer than silence.
func (m *machine) follow(ctx context.Context, silence time.Duration, rep *reporter) error {
	stopped := context.AfterFunc(ctx, func() { _ = m.messages.SetReadDeadline(time.Unix(1, 0)) })
	defer stopped()
	in := bufio.NewReader(m.messages)
	for {
		if ctx.Err() == nil {
			if err := m.messages.SetReadDeadline(time.Now().Add(silence)); err != nil {
				return fmt.Errorf("setting the watchdog: %w", err)
			}
		}
		line, err := in.ReadBytes('\n')
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the machine said nothing for %v", silence)
		case err != nil:
			return fmt.Errorf("reading the machine's messages: %w", err)
		}
		var msg wire.Message
		if err := json.Unmarshal(line, &msg); err != nil {
			return fmt.Errorf("the machine sent %q: %w", line, err)
		}
		if err := rep.take(msg); err != nil {
			return err
		}
	}
}

// stop ends the machine, which has switched itself off unless something went wrong.
func (m *machine) stop() error {
	_ = m.messages.Close() // its end is told by the process
	select {
	case <-m.exited:
		if m.exit != nil {
			return fmt.Errorf("QEMU: %w\n%s", m.exit, m.output.String())
		}
		return nil
	case <-time.After(5 * time.Second):
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing QEMU: %w", err)
	}
	<-m.exited // killed: its exit status tells nothing
	return nil
}

// cpu is the processor time the machine has used, which tells what something costs also when the host is busy.
func (m *machine) cpu() time.Duration {
	select {
	case <-m.exited:
		return m.cmd.ProcessState.UserTime() + m.cmd.ProcessState.SystemTime()
	default:
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	if err != nil {
		return 0 // it has just ended
	}
	// After the name, which may contain anything, the 12th and 13th fields: utime and stime in ticks of 10 ms.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[min(len(fields), 11):min(len(fields), 13)] {
		n, _ := strconv.ParseInt(field, 10, 64) // nothing where it is not as documented
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// consoleTail returns the last lines the kernel printed.
func (m *machine) consoleTail() string {
	const lines = 60
	raw, err := os.ReadFile(m.console)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(raw), "\r\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
