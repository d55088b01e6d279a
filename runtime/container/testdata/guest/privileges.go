package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
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

// siege is what a root that is none tries on its machine.
func siege([]string) {
	fmt.Println("disk:", syscall.Mknod("/tmp-disk", syscall.S_IFBLK|0o600, 8<<8))
	fmt.Println("user beyond:", setid(syscall.SYS_SETUID))
	fmt.Println("group beyond:", setid(syscall.SYS_SETGID))
	check(os.WriteFile("/tmp-file", nil, 0o600))
	fmt.Println("owner beyond:", syscall.Lchown("/tmp-file", 70000, 70000))
	fmt.Println("namespace:", syscall.Unshare(syscall.CLONE_NEWUSER))
	fmt.Println("mount:", syscall.Mount("proc", "/proc", "proc", 0, ""))
	fmt.Println("clock:", syscall.Settimeofday(&syscall.Timeval{Sec: 1}))
	fmt.Println("host name:", syscall.Sethostname([]byte("mine")))
}

// setid becomes, on this thread, one that the user namespace does not have.
func setid(call uintptr) error {
	if _, _, errno := syscall.RawSyscall(call, 70000, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// owners says whose the files are.
func owners(args []string) {
	for _, name := range args {
		var st syscall.Stat_t
		check(syscall.Stat(name, &st))
		fmt.Println(name, st.Uid, st.Gid)
	}
}

func chown(args []string) {
	uid, err := strconv.Atoi(args[1])
	check(err)
	gid, err := strconv.Atoi(args[2])
	check(err)
	check(os.Chown(args[0], uid, gid))
}

// say opens the standard streams by their names.
func say([]string) {
	for _, name := range []string{"/dev/stdout", "/dev/stderr"} {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		fmt.Println("said", name, err)
		if err == nil {
			check(f.Close())
		}
	}
}

func kill(args []string) {
	pid, err := strconv.Atoi(args[0])
	check(err)
	fmt.Println("killed", syscall.Kill(pid, syscall.SIGTERM))
}
