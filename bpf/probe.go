package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Feature is something the kernel may have.
type Feature struct {
	Name     string
	Since    string // first kernel release that has it
	Required bool   // fcnode cannot work without it
	Purpose  string
	Err      error // nil: it is there; ebpf.ErrNotSupported: it is not; else: could not be found out
}

// Missing says whether the kernel is known not to have it.
func (f Feature) Missing() bool { return errors.Is(f.Err, ebpf.ErrNotSupported) }

// Probe asks the running kernel for each feature that fcnode uses. It needs
// the rights to load programs.
func Probe() []Feature {
	helper := func(t ebpf.ProgramType, fn asm.BuiltinFunc) error { return features.HaveProgramHelper(t, fn) }
	return []Feature{
		{"BTF", "5.2", true, "one object for all kernels (CO-RE)", haveBTF()},
		{"ring buffer", "5.8", true, "held packets and events", features.HaveMapType(ebpf.RingBuf)},
		{"bpf_redirect_neigh", "5.10", true, "replies straight to an uplink", helper(ebpf.SchedCLS, asm.FnRedirectNeigh)},
		{"bpf_redirect_peer", "5.10", true, "packets of an uplink straight into a replica", helper(ebpf.SchedCLS, asm.FnRedirectPeer)},
		{"bpf_skc_lookup_tcp", "5.2", true, "flows lost by the table are found by their socket", helper(ebpf.SchedCLS, asm.FnSkcLookupTcp)},
		{"netns cookie in sock_ops", "5.14", true, "readiness seen in the kernel", helper(ebpf.SockOps, asm.FnGetNetnsCookie)},
		{"netns cookie in post_bind", "5.14", true, "readiness of UDP servers", helper(ebpf.CGroupSock, asm.FnGetNetnsCookie)},
		{"programs run by system call", "5.14", true, "marks on replicas, set beside the counting programs", features.HaveProgramType(ebpf.Syscall)},
		{"bpf_loop", "5.17", true, "loops that the verifier walks once, so that loading is quick", helper(ebpf.SchedCLS, asm.FnLoop)},
		{"SYN cookies", "6.0", true, "ends of handshakes that a flooded kernel has kept nothing of", helper(ebpf.SchedCLS, asm.FnTcpRawCheckSyncookieIpv4)},
		{"storage of sockets", "5.9", true, "connections and listeners that are counted", helper(ebpf.SockOps, asm.FnSkStorageGet)},
		{"programs on a cgroup's packets", "5.2", true, "bytes and latency", helper(ebpf.CGroupSKB, asm.FnSkStorageGet)},
		{"tcx", "6.6", false, "attachment by links; without it: clsact filters", haveTCX()},
	}
}

func haveBTF() error {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return fmt.Errorf("/sys/kernel/btf/vmlinux: %w (%w)", ebpf.ErrNotSupported, err)
	}
	return nil
}

// haveTCX asks by querying the loopback device, which changes nothing.
func haveTCX() error {
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		return nil
	}
	// kernels before 6.6 refuse the attach type itself
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		return ebpf.ErrNotSupported
	}
	return fmt.Errorf("query tcx programs: %w", err)
}
