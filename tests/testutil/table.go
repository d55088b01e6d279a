package testutil

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// Feature is something of the kernel's that fcnode or its tests use.
type Feature struct {
	Name  string
	Since Version // the first kernel that has it
	Use   string  // what fcnode does with it
	Else  string  // what it does without; "" when it cannot do without
	// Debian is the first of the rig's kernels that Debian builds it into, where older ones could have had it.
	Debian Version
	// Probe tries it and tells why it does not work.
	Probe func() error
	// Lacks, where set, names what this machine is without, such as a kernel option; "" when
	// nothing. It excuses a failed probe except on the rig's kernels.
	Lacks func() string
}

// Expected is the first of the rig's kernels that is expected to have the feature.
func (f Feature) Expected() Version {
	if f.Since.Less(f.Debian) {
		return f.Debian
	}
	return f.Since
}

// Features is the one table of what is expected from which kernel on: tests are gated by it
// ([RequireFeature]) and docs/kernels.md is made from it.
var Features = concat(bpfFeatures, netFeatures, cgroupFeatures, containerFeatures)

// The names and versions of these are those of bpf.Probe, which the daemon asks; tests/kernels holds the
// two to each other (this package cannot import bpf, whose tests import it).
var bpfFeatures = []Feature{
	{Name: "BTF", Since: V(5, 2), Use: "one BPF object for all kernels (CO-RE)",
		Probe: probeFile("/sys/kernel/btf/vmlinux"), Lacks: withoutConfig("CONFIG_DEBUG_INFO_BTF")},
	{Name: "ring buffer", Since: V(5, 8), Use: "held packets and events",
		Probe: func() error { return features.HaveMapType(ebpf.RingBuf) }},
	{Name: "bpf_redirect_neigh", Since: V(5, 10), Use: "replies straight to an uplink",
		Probe: helper(ebpf.SchedCLS, asm.FnRedirectNeigh)},
	{Name: "bpf_redirect_peer", Since: V(5, 10), Use: "packets of an uplink straight into a replica",
		Probe: helper(ebpf.SchedCLS, asm.FnRedirectPeer)},
	{Name: "bpf_skc_lookup_tcp", Since: V(5, 2), Use: "flows lost by the table are found by their socket",
		Probe: helper(ebpf.SchedCLS, asm.FnSkcLookupTcp)},
	{Name: "netns cookie in sock_ops", Since: V(5, 14), Use: "readiness seen in the kernel",
		Probe: helper(ebpf.SockOps, asm.FnGetNetnsCookie)},
	{Name: "netns cookie in post_bind", Since: V(5, 14), Use: "readiness of UDP servers",
		Probe: helper(ebpf.CGroupSock, asm.FnGetNetnsCookie)},
	{Name: "programs run by system call", Since: V(5, 14), Use: "marks on replicas, set beside the programs that count",
		Probe: func() error { return features.HaveProgramType(ebpf.Syscall) }},
	{Name: "bpf_loop", Since: V(5, 17), Use: "loops that the verifier walks once, so that loading is quick",
		Probe: helper(ebpf.SchedCLS, asm.FnLoop)},
	{Name: "SYN cookies", Since: V(6, 0), Use: "ends of handshakes that a flooded kernel has kept nothing of",
		Probe: helper(ebpf.SchedCLS, asm.FnTcpRawCheckSyncookieIpv4), Lacks: withoutConfig("CONFIG_SYN_COOKIES")},
	{Name: "storage of sockets", Since: V(5, 9), Use: "connections and listeners that are counted",
		Probe: helper(ebpf.SockOps, asm.FnSkStorageGet)},
	{Name: "programs on a cgroup's packets", Since: V(5, 2), Use: "bytes and latency",
		Probe: helper(ebpf.CGroupSKB, asm.FnSkStorageGet)},
	{Name: "tcx", Since: V(6, 6), Use: "attachment by links, which are replaced in one step", Else: "clsact filters",
		Probe: probeTCX},
}

var netFeatures = []Feature{
	{Name: "veth", Since: V(2, 6), Use: "the link into each replica's namespace",
		Probe: probeLink("veth"), Lacks: withoutConfig("CONFIG_VETH")},
	{Name: "dummy", Since: V(2, 6), Use: "fc0, the device behind the whole prefix", Else: "ifb",
		Probe: probeLink("dummy"), Lacks: withoutConfig("CONFIG_DUMMY")},
	{Name: "ifb", Since: V(2, 6), Use: "fc0 where the kernel has no dummy", Else: "dummy",
		Probe: probeLink("ifb"), Lacks: withoutConfig("CONFIG_IFB")},
	{Name: "clsact", Since: V(4, 5), Use: "attachment where there is no tcx", Else: "tcx",
		Probe: probeClsact, Lacks: withoutConfig("CONFIG_NET_SCH_INGRESS", "CONFIG_NET_CLS_BPF")},
	{Name: "nftables", Since: V(5, 7), Use: "the way out for sites with private addresses", Else: "sites reach only who knows the way to them",
		Probe: probeNFTables, Lacks: withoutConfig("CONFIG_NF_TABLES_INET", "CONFIG_NFT_MASQ", "CONFIG_NFT_REJECT_INET")},
	{Name: "SO_NETNS_COOKIE", Since: V(5, 14), Use: "the cookie of a replica's namespace, by which BPF knows it",
		Probe: probeNetnsCookie},
	{Name: "IPv6", Since: V(2, 6), Use: "sites' IPv6 addresses", Else: "IPv4 only",
		Probe: probeSocket6, Lacks: withoutConfig("CONFIG_IPV6")},
	{Name: "MPTCP", Since: V(5, 6), Use: "servers that listen with MPTCP, as Go's do", Else: "they fall back to TCP",
		Probe: probeMPTCP, Lacks: withoutConfig("CONFIG_MPTCP")},
}

var cgroupFeatures = []Feature{
	{Name: "cpu controller", Since: V(4, 15), Use: "cpu.max, cpu.weight", Else: "no processor limits; said once",
		Probe: probeController("cpu"), Lacks: heldByV1("cpu")},
	{Name: "memory controller", Since: V(4, 5), Use: "memory.high, memory.max", Else: "no memory limits; said once",
		Probe: probeController("memory"), Lacks: heldByV1("memory")},
	{Name: "io controller", Since: V(4, 5), Use: "io.max", Else: "no disk limits; said once",
		Probe: probeController("io"), Lacks: heldByV1("blkio")},
	{Name: "pids controller", Since: V(4, 5), Use: "pids.max", Else: "no limit of processes; said once",
		Probe: probeController("pids"), Lacks: heldByV1("pids")},
	{Name: "cpuset controller", Since: V(5, 0), Use: "cpuset.cpus", Else: "no pinning to processors",
		Probe: probeController("cpuset"), Lacks: heldByV1("cpuset")},
	{Name: "cgroup.freeze", Since: V(5, 2), Use: "the tier frozen", Else: "without that tier",
		Probe: probeCgroupFile("cgroup.freeze")},
	{Name: "cgroup.kill", Since: V(5, 14), Use: "the end of all processes of a replica", Else: "its init is killed",
		Probe: probeCgroupFile("cgroup.kill")},
	{Name: "CLONE_INTO_CGROUP", Since: V(5, 7), Use: "processes that start in their cgroup",
		Probe: probeCloneIntoCgroup},
	{Name: "memory.reclaim", Since: V(5, 19), Use: "the tier reclaimed", Else: "madvise(MADV_PAGEOUT)",
		Probe: probeCgroupFile("memory.reclaim"), Lacks: heldByV1("memory")},
	{Name: "memory.reclaim swappiness", Since: V(6, 11), Use: "reclaim of anonymous memory first", Else: "reclaim as the kernel chooses",
		Probe: probeReclaimSwappiness, Lacks: heldByV1("memory")},
	{Name: "PSI triggers", Since: V(5, 2), Use: "pressure told by the kernel within a second", Else: "limits follow usage only",
		Probe: probePSI, Lacks: withoutPSI},
}

var containerFeatures = []Feature{
	{Name: "overlayfs", Since: V(3, 18), Use: "the writable root of each replica",
		Probe: probeFilesystem("overlay"), Lacks: withoutConfig("CONFIG_OVERLAY_FS")},
	{Name: "pidfd_open", Since: V(5, 3), Use: "watching and signalling the right process, also after a restart of the daemon",
		Probe: probePidfd},
	{Name: "new mount API", Since: V(5, 2), Use: "mounts made before they are attached",
		Probe: probeFsopen},
	{Name: "NFS", Since: V(4, 0), Use: "volumes that a server exports by NFS 4.2 or 4.1", Else: "without such volumes",
		Probe: probeNFS, Lacks: withoutConfig("CONFIG_NFS_V4", "CONFIG_NFSD_V4")},
	{Name: "zram", Since: V(3, 14), Use: "swap in compressed memory, for the tier reclaimed", Else: "swap on disk, or none",
		Probe: probeZram, Lacks: withoutConfig("CONFIG_ZRAM")},
	{Name: "zswap", Since: V(3, 11), Debian: V(7, 0), Use: "compressed memory before swap on disk, for the tier reclaimed", Else: "zram, or swap on disk alone",
		Probe: probeZswap, Lacks: withoutConfig("CONFIG_ZSWAP")},
	{Name: "swap", Since: V(2, 6), Use: "somewhere for the tier reclaimed to put memory that is not of files", Else: "files' pages only are reclaimed",
		Probe: probeSwap, Lacks: withoutSwap},
	{Name: "CRIU", Since: V(6, 1), Use: "the tier checkpointed", Else: "without that tier",
		Probe: probeCRIU, Lacks: withoutCRIU},
	{Name: "AppArmor", Since: V(2, 6), Use: "a profile around each site", Else: "without that second line of defence",
		Probe: probeAppArmor, Lacks: withoutAppArmor},
	{Name: "userfaultfd", Since: V(4, 3), Use: "restored memory that comes on demand", Else: "all memory is restored at once",
		Probe: probeUserfaultfd, Lacks: withoutConfig("CONFIG_USERFAULTFD")},
	{Name: "soft-dirty pages", Since: V(3, 11), Use: "dumps of what has changed since the last one", Else: "whole dumps",
		Probe: probeSoftDirty, Lacks: withoutConfig("CONFIG_MEM_SOFT_DIRTY")},
	{Name: "CAP_SYS_RESOURCE", Since: V(2, 6), Use: "restoring processes of several users from a checkpoint", Else: "those start cold",
		Probe: probeSysResource, Lacks: withoutSysResource},
}

func concat(tables ...[]Feature) []Feature {
	var all []Feature
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}
