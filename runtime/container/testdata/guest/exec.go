package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// leave starts a process by a double fork, in a session of its own and deaf to
// polite signals, that keeps the streams and reads what it can get: what is read
// after "staying" goes to /stolen. SIGTERM ends only this one, with code 3.
func leave(args []string) {
	if len(args) == 0 {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		again("between")
		<-c
		os.Exit(3)
	}
	if args[0] == "between" {
		again("stay")
		return
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGPIPE)
	f, err := os.OpenFile("/stolen", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(err)
	fmt.Println("staying")
	buf := make([]byte, 100)
	for {
		n, err := os.Stdin.Read(buf)
		check2(f.Write(buf[:n]))
		if err != nil {
			time.Sleep(time.Hour)
		}
	}
}

func again(role string) {
	cmd := exec.Command("/proc/self/exe", "leave", role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(cmd.Start())
}

// keep opens the streams of other processes, by /proc, and keeps them. When it has
// those of one it prints "kept" and how many.
func keep([]string) {
	var kept []*os.File
	for {
		n := 0
		processes, err := os.ReadDir("/proc")
		check(err)
		for _, p := range processes {
			for _, fd := range []string{"0", "1", "2"} {
				if n, err := strconv.Atoi(p.Name()); err != nil || n == os.Getpid() {
					continue
				}
				f, err := os.OpenFile("/proc/"+p.Name()+"/fd/"+fd, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
				if target, _ := os.Readlink("/proc/" + p.Name() + "/fd/" + fd); err == nil && target != "/dev/null" {
					kept = append(kept, f)
					n++
				}
			}
		}
		if n > 2 {
			fmt.Println("kept", n)
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Millisecond)
	}
}

// pry does to its own streams what should reach nobody else, and says what else
// it sees: the programs of all processes.
func pry([]string) {
	for fd := range 3 {
		name := fmt.Sprintf("/proc/self/fd/%d", fd)
		target, err := os.Readlink(name)
		fmt.Println("stream", fd, strings.SplitN(target, ":", 2)[0], err)
		_ = syscall.Fchmod(fd, 0o4777)
		_ = syscall.Fchown(fd, 1000, 1000)
		for _, c := range "typed\n" {
			b := byte(c)
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCSTI, uintptr(unsafe.Pointer(&b)))
		}
	}
	processes, err := os.ReadDir("/proc")
	check(err)
	for _, p := range processes {
		if comm, err := os.ReadFile("/proc/" + p.Name() + "/comm"); err == nil && p.Name() != "self" && p.Name() != "thread-self" {
			fmt.Println("process", strings.TrimSpace(string(comm)))
		}
	}
	fmt.Println("pried")
}
