package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"syscall"
)

// kept holds what would be closed by the garbage collector.
var kept []any

// odd does what is hard to checkpoint, and then counts: KIND ADDRESS.
func odd(args []string) {
	const size = 80 << 20
	switch kind, rest := args[0], args[1:]; kind {
	case "inotify":
		fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
		check(err)
		_, err = syscall.InotifyAddWatch(fd, args[2], syscall.IN_MODIFY)
		check(err)
		counter(rest[:1])
	case "mptcp":
		var lc net.ListenConfig
		lc.SetMultipathTCP(true)
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		check(err)
		kept = append(kept, l)
		counter(rest)
	case "unix":
		c, err := net.Dial("unix", "/data/socket")
		check(err)
		kept = append(kept, c)
		counter(rest)
	case "loopback": // as a web server and its PHP
		l, err := net.Listen("tcp", "127.0.0.1:9000")
		check(err)
		c, err := net.Dial("tcp", "127.0.0.1:9000")
		check(err)
		kept = append(kept, l, c)
		counter(rest)
	case "deleted":
		f, err := os.Create("/large")
		check(err)
		check2(f.Write(bytes.Repeat([]byte("x"), size)))
		check(os.Remove("/large"))
		kept = append(kept, f)
		counter(rest)
	case "jit":
		// As PHP does, in front of all other code.
		const at, length = 1 << 20, 1 << 20
		const flags = syscall.MAP_SHARED | syscall.MAP_ANON | syscall.MAP_FIXED
		_, _, errno := syscall.Syscall6(syscall.SYS_MMAP, at, length, syscall.PROT_READ|syscall.PROT_EXEC, flags, ^uintptr(0), 0)
		if errno != 0 {
			check(errno)
		}
		counter(rest)
	default:
		counter(rest)
	}
}
