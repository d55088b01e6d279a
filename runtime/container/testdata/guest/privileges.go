//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// become executes a program in its own place.
func become(args []string) { check(syscall.Exec(args[0], args, os.Environ())) }

// rights tries what takes a capability, and says what came of it.
func rights([]string) {
	fmt.Println("user", os.Geteuid())
	_, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	fmt.Println("packet socket:", err)
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
	fmt.Println("raw socket:", err)
	fmt.Println("node:", syscall.Mknod("/tmp-node", syscall.S_IFCHR|0o600, 1<<8|3))
	check(os.WriteFile("/tmp-file", nil, 0o700))
	// cap_net_raw+ep
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	fmt.Println("file capability:", syscall.Setxattr("/tmp-file", "security.capability", capability, 0))
	fmt.Println("chown:", os.Chown("/tmp-file", 7, 7))
}

// ping sends an echo request to its own machine as ping does that is nobody
// special, and waits for the answer.
func ping([]string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP)
	check(err)
	to := &syscall.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}
	check(syscall.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 1}, 0, to))
	n, _, err := syscall.Recvfrom(fd, make([]byte, 64), 0)
	fmt.Println("user", os.Getuid(), "answer of", n, err)
}
