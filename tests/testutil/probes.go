package testutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/moby/sys/capability"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Probes try the thing itself where that leaves no trace, in namespaces or cgroups
// that are thrown away, and look for its file where it does not.

func helper(t ebpf.ProgramType, fn asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(t, fn) }
}

func probeFile(path string) func() error {
	return func() error {
		_, err := os.Stat(path)
		return err
	}
}

// inNewNetNS runs fn on a thread of its own in a network namespace that ends with it.
func inNewNetNS(fn func() error) error {
	return thread.Throwaway(func() error {
		ns, err := netns.New()
		if err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		return errors.Join(fn(), ns.Close())
	})
}

// probeLink tries to make a link of a kind.
func probeLink(kind string) func() error {
	return func() error {
		return inNewNetNS(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "probe0"
			if err := netlink.LinkAdd(&netlink.GenericLink{LinkAttrs: attrs, LinkType: kind}); err != nil {
				return fmt.Errorf("adding a link of kind %s: %w", kind, err)
			}
			return nil
		})
	}
}

// probeProgram loads a program for traffic control that lets everything pass.
func probeProgram() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
}

func probeTCX() error {
	prog, err := probeProgram()
	if err != nil {
		return err
	}
	return errors.Join(inNewNetNS(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: prog, Attach: ebpf.AttachTCXEgress})
		if err != nil {
			return fmt.Errorf("attaching to lo by tcx: %w", err)
		}
		return l.Close()
	}), prog.Close())
}

func probeClsact() error {
	prog, err := probeProgram()
	if err != nil {
		return err
	}
	return errors.Join(inNewNetNS(func() error {
		qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: 1, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}
		if err := netlink.QdiscAdd(qdisc); err != nil {
			return fmt.Errorf("adding clsact to lo: %w", err)
		}
		filter := &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: 1, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL},
			Fd:          prog.FD(), Name: "probe", DirectAction: true,
		}
		if err := netlink.FilterAdd(filter); err != nil {
			return fmt.Errorf("adding a BPF filter to lo: %w", err)
		}
		return nil
	}), prog.Close())
}

// probeNFTables makes a table that rewrites addresses by the device that a forwarded packet came in by.
func probeNFTables() error {
	return inNewNetNS(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Name: "probe", Family: nftables.TableFamilyINet})
		nat := c.AddChain(&nftables.Chain{
			Name: "nat", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		refuse := c.AddChain(&nftables.Chain{
			Name: "refuse", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: nat, Exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Masq{}}})
		c.AddRule(&nftables.Rule{Table: t, Chain: refuse, Exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH}}})
		return c.Flush()
	})
}

func probeNetnsCookie() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

func probeSocket6() error {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return err
	}
	return l.Close()
}

func probeMPTCP() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		return fmt.Errorf("opening an MPTCP socket: %w", err)
	}
	return unix.Close(fd)
}

// inNewCgroup calls fn with the path of a new cgroup in the sandbox of [Main].
func inNewCgroup(fn func(path string) error) error {
	dir, err := os.MkdirTemp("/sys/fs/cgroup", "probe")
	if err != nil {
		return fmt.Errorf("making a cgroup: %w", err)
	}
	return errors.Join(fn(dir), os.Remove(dir))
}

func probeController(name string) func() error {
	return func() error {
		have, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil {
			return fmt.Errorf("reading the controllers: %w", err)
		}
		for c := range strings.FieldsSeq(string(have)) {
			if c == name {
				return nil
			}
		}
		return fmt.Errorf("the cgroup of the tests has the controllers %q, not %s", strings.TrimSpace(string(have)), name)
	}
}

// heldByV1 is the excuse of hybrid machines, where cgroup v1 has taken a controller from v2.
func heldByV1(name string) func() string {
	return func() string {
		list, err := os.ReadFile("/proc/cgroups")
		if err != nil {
			return ""
		}
		for line := range strings.Lines(string(list)) {
			// name, hierarchy (0 is v2), number of cgroups, enabled
			if f := strings.Fields(line); len(f) == 4 && f[0] == name && f[1] != "0" {
				return fmt.Sprintf("the controller %s in cgroup v2: version 1 has it", name)
			}
		}
		return ""
	}
}

// probeCgroupFile looks for a file in a new cgroup. Files of the memory controller need it handed down to there.
func probeCgroupFile(name string) func() error {
	return func() error {
		if strings.HasPrefix(name, "memory.") {
			if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
				return fmt.Errorf("handing the memory controller down: %w", err)
			}
		}
		return inNewCgroup(func(path string) error { return probeFile(path + "/" + name)() })
	}
}

func probeReclaimSwappiness() error {
	if err := probeCgroupFile("memory.reclaim")(); err != nil {
		return err
	}
	return inNewCgroup(func(path string) error {
		// Nothing is to be reclaimed: an empty cgroup has nothing to give, and 6.12 and 7.2 were seen to
		// try for minutes.
		return os.WriteFile(path+"/memory.reclaim", []byte("0 swappiness=10"), 0)
	})
}

// probeCloneIntoCgroup starts a program in a new cgroup.
func probeCloneIntoCgroup() error {
	return inNewCgroup(func(path string) error {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		cmd := exec.Command("true")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		return errors.Join(cmd.Run(), dir.Close())
	})
}

// probePSI registers a trigger: pressure of 0.2 s within 2 s. Without CAP_SYS_RESOURCE only windows of whole
// multiples of 2 s are allowed (since Linux 6.5).
func probePSI() error {
	f, err := os.OpenFile("/proc/pressure/memory", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("some 200000 2000000\x00")
	return errors.Join(err, f.Close())
}

func withoutPSI() string {
	if _, err := os.ReadFile("/proc/pressure/memory"); err != nil {
		return fmt.Sprintf("pressure stall information (boot with psi=1): %v", err)
	}
	return ""
}

// probeFilesystem opens it as a mount does, which loads its module where it is one: nobody may have mounted it before.
func probeFilesystem(name string) func() error {
	return func() error {
		fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
		if err != nil {
			return fmt.Errorf("fsopen(%s): %w", name, err)
		}
		return unix.Close(fd)
	}
}

func probePidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	return unix.Close(fd)
}

func probeFsopen() error {
	m, err := detachedMount("tmpfs")
	if err != nil {
		return err
	}
	return m.Close()
}

// probeNFS asks for both sides: a test of the one needs the other.
func probeNFS() error {
	for _, fstype := range []string{"nfs4", "nfsd"} {
		fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
		if err != nil {
			return fmt.Errorf("opening the file system %s: %w", fstype, err)
		}
		_ = unix.Close(fd) // nothing was made
	}
	return nil
}

func probeZram() error { return probeFile("/sys/class/zram-control")() }

func probeZswap() error { return probeFile("/sys/module/zswap/parameters/enabled")() }

func probeSwap() error {
	list, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return err
	}
	if strings.Count(string(list), "\n") < 2 { // the first line is the heading
		return errors.New("nothing is swapped to (/proc/swaps)")
	}
	return nil
}

func withoutSwap() string {
	if err := probeSwap(); err != nil {
		return fmt.Sprintf("swap: %v", err)
	}
	return ""
}

func probeUserfaultfd() error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	return unix.Close(int(fd))
}

// probeSoftDirty touches a page and looks whether the kernel has noticed (Documentation/admin-guide/mm/soft-dirty.rst).
func probeSoftDirty() error {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	page[0] = 1
	entry, err := pagemap(page)
	err = errors.Join(err, unix.Munmap(page))
	if softDirty := uint64(1) << 55; err == nil && entry&softDirty == 0 {
		err = errors.New("a page that was written to is not marked as soft-dirty")
	}
	return err
}

// pagemap is what the kernel tells about a page of this process.
func pagemap(page []byte) (uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const size = 8 // of an entry
	entry := make([]byte, size)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(page))) / uintptr(os.Getpagesize()) * size
	if _, err := f.ReadAt(entry, int64(at)); err != nil {
		return 0, fmt.Errorf("reading the pagemap: %w", err)
	}
	return binary.NativeEndian.Uint64(entry), nil
}

func probeSysResource() error {
	have, err := capability.NewPid2(0)
	if err == nil {
		err = have.Load()
	}
	if err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	if !have.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE) {
		return errors.New("CAP_SYS_RESOURCE is not in the effective set")
	}
	return nil
}

func withoutSysResource() string {
	if probeSysResource() != nil {
		return "the capability CAP_SYS_RESOURCE"
	}
	return ""
}

func probeCRIU() error {
	if CRIU() == "" {
		return errors.New("there is no criu")
	}
	_, err := CRIUVersion()
	return err
}

func withoutCRIU() string {
	if CRIU() == "" {
		return "CRIU (make deps)"
	}
	return ""
}

// probeAppArmor looks for what the daemon asks for: AppArmor in the kernel, its files, and the program that loads profiles.
func probeAppArmor() error {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err == nil && !strings.HasPrefix(string(enabled), "Y") {
		err = errors.New("it is switched off")
	}
	if err == nil {
		_, err = os.Stat("/sys/kernel/security/apparmor/profiles")
	}
	if err == nil {
		_, err = exec.LookPath("apparmor_parser")
	}
	return err
}

func withoutAppArmor() string {
	if err := probeAppArmor(); err != nil {
		return fmt.Sprintf("AppArmor: %v", err)
	}
	return ""
}
