package criu

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// lookSocket asks a copy of a process' socket what it is.
func (p *process) lookSocket(name string) {
	n, err := strconv.Atoi(name)
	if err != nil {
		return
	}
	fd, err := unix.PidfdGetfd(p.pidfd, n, 0)
	if err != nil {
		return // closed meanwhile
	}
	defer unix.Close(fd) // only looked at
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return
	}
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	switch domain {
	case unix.AF_INET, unix.AF_INET6:
		p.lookInet(protocol)
	case unix.AF_UNIX:
		p.lookUnix(fd)
	case unix.AF_NETLINK, unix.AF_PACKET:
	default:
		p.found("this application cannot be checkpointed", "it has a socket of the address family %d", domain)
	}
}

func (p *process) lookInet(protocol int) {
	switch protocol {
	case unix.IPPROTO_MPTCP:
		p.found("set net.mptcp.enabled=0 in its network namespace before it starts; Go: GODEBUG=multipathtcp=0",
			"it has an MPTCP socket")
	case unix.IPPROTO_SCTP:
		p.found("use TCP", "it has an SCTP socket")
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		p.found("switch the pinging off", "it has a socket for ICMP")
	}
}

// lookUnix finds connections to processes outside of the tree.
func (p *process) lookUnix(fd int) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind == unix.SOCK_DGRAM {
		return
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return // it listens, or is not connected
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || slices.Contains(p.tree, int(peer.Pid)) {
		return
	}
	p.found("connect by TCP: such connections are closed by a checkpoint, and made anew by most applications",
		"it is connected by a unix socket to a process outside (%d)", peer.Pid)
}
