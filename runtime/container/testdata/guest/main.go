// Command guest is the program that the tests run in containers. Its first
// argument says what to do.
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	roles := map[string]func(args []string){
		"serve": serve, "exit": exit, "echo": echo, "wait": wait, "ignore": ignore, "raise": raise,
		"cat": cat, "write": write, "id": id, "status": status, "syscall": rawSyscall, "print": print,
		"hostname": hostname, "env": env, "mem": mem, "tty": tty, "copy": copyStdin, "mounts": mounts,
		"stat": stat, "open": open, "forks": forks, "cwd": cwd, "mknod": mknod, "list": list, "touch": touch, "sleep": sleep,
		"counter": counter,
		"family":  family, "member": member, "links": links, "odd": odd, "now": now,
		"spin": spin, "hold": hold, "grow": grow, "fork": fork, "disk": disk,
		"parent": parent, "orphans": orphans, "abandon": abandon,
		"leave": leave, "keep": keep, "pry": pry,
		"become": become, "rights": rights, "ping": ping,
		"siege": siege, "owners": owners, "chown": chown, "say": say, "kill": kill,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "guest: unknown role", os.Args[1:])
		os.Exit(64)
	}
	roles[os.Args[1]](os.Args[2:])
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func monotonic() int64 {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0
	}
	return ts.Nano()
}

// now says when it was begun.
func now([]string) { fmt.Println("now", monotonic()) }

// serve listens and says when.
func serve(args []string) {
	l, err := net.Listen("tcp", args[0])
	check(err)
	fmt.Println("listening", monotonic())
	check(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	})))
}

func exit(args []string) {
	code, err := strconv.Atoi(args[0])
	check(err)
	os.Exit(code)
}

func echo(args []string) { fmt.Println(strings.Join(args, " ")) }
func print(args []string) { // COUNT lines of LENGTH bytes
	count, err := strconv.Atoi(args[0])
	check(err)
	length, err := strconv.Atoi(args[1])
	check(err)
	w := bufio.NewWriter(os.Stdout)
	for i := range count {
		line := fmt.Sprintf("%08d ", i)
		check2(w.WriteString(line + strings.Repeat("x", max(0, length-len(line))) + "\n"))
	}
	check(w.Flush())
}

func check2(_ int, err error) { check(err) }

// wait ends at SIGTERM with code 7.
func wait([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("waiting")
	<-c
	os.Exit(7)
}

// ignore does not end at SIGTERM, and says that it came.
func ignore([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ignoring")
	for range c {
		fmt.Println("ignored")
	}
}

// raise does not die by its own signal as the first process of its namespace,
// so a child does, and it ends as a shell would.
func raise(args []string) {
	n, err := strconv.Atoi(args[0])
	check(err)
	check(syscall.Kill(os.Getpid(), syscall.Signal(n)))
	time.Sleep(time.Hour)
}

func cat(args []string) {
	for _, name := range args {
		b, err := os.ReadFile(name)
		check(err)
		check2(os.Stdout.Write(b))
	}
}

func write(args []string) {
	check(os.WriteFile(args[0], []byte(args[1]), 0o644))
	fmt.Println("written")
}

func id([]string) {
	groups, err := os.Getgroups()
	check(err)
	fmt.Println(os.Getuid(), os.Getgid(), groups)
}

// status prints what /proc/self/status says of privileges.
func status([]string) {
	b, err := os.ReadFile("/proc/self/status")
	check(err)
	for line := range strings.Lines(string(b)) {
		for _, want := range []string{"Cap", "THP_enabled:", "NoNewPrivs", "Seccomp:", "Pid:", "NSpid:"} {
			if strings.HasPrefix(line, want) {
				fmt.Print(line)
			}
		}
	}
}

func rawSyscall(args []string) {
	n, err := strconv.Atoi(args[0])
	check(err)
	_, _, errno := syscall.RawSyscall(uintptr(n), 0, 0, 0)
	fmt.Println("errno", int(errno))
}

func hostname([]string) {
	name, err := os.Hostname()
	check(err)
	fmt.Println(name)
}

func env([]string) {
	for _, e := range os.Environ() {
		fmt.Println(e)
	}
}

// mem touches MEGABYTES.
func mem(args []string) {
	n, err := strconv.Atoi(args[0])
	check(err)
	b := make([]byte, n<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	fmt.Println("touched")
	runtime.KeepAlive(b)
}

// tty says whether standard input is a terminal, and its size.
func tty([]string) {
	var size struct{ rows, cols, x, y uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		fmt.Println("no terminal:", errno)
		return
	}
	fmt.Println("terminal", size.cols, size.rows)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	fmt.Println("read", strings.TrimSpace(line), size.cols, size.rows)
}

func copyStdin([]string) {
	s := bufio.NewScanner(os.Stdin)
	for s.Scan() {
		fmt.Println("got", s.Text())
	}
	fmt.Fprintln(os.Stderr, "end")
}

func mounts([]string) { cat([]string{"/proc/self/mountinfo"}) }

func stat(args []string) {
	for _, name := range args {
		st, err := os.Stat(name)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(name, st.Mode(), st.Size())
	}
}

// open tries to open each for reading and to read a byte.
func open(args []string) {
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		n, err := f.Read(make([]byte, 1))
		fmt.Println(name, n, err)
	}
}

// forks starts COUNT children that wait.
func forks(args []string) {
	n, err := strconv.Atoi(args[0])
	check(err)
	for range n {
		_, err := os.StartProcess("/proc/self/exe", []string{"guest", "wait"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		check(err)
	}
	wait(nil)
}

// parent runs a program, and goes on when that has ended, whatever ended it.
func parent(args []string) {
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	check(err)
	state, err := p.Wait()
	fmt.Println("went on", state, err)
	wait(nil)
}

// orphans has COUNT processes leave one of theirs behind, which ends at once, and says at each signal how many
// of what is in the container is dead and not reaped.
func orphans(args []string) {
	for range number(args[0]) {
		p, err := os.StartProcess("/proc/self/exe", []string{"guest", "abandon"}, &os.ProcAttr{})
		check(err)
		_, err = p.Wait()
		check(err)
	}
	ask(func() {
		dead := 0
		entries, err := os.ReadDir("/proc")
		check(err)
		for _, e := range entries {
			stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
			if err == nil && strings.Contains(string(stat), ") Z ") {
				dead++
			}
		}
		fmt.Println("process", os.Getpid(), "sees", dead, "dead")
	})
}

// abandon starts a process and does not wait for it.
func abandon([]string) {
	_, err := os.StartProcess("/proc/self/exe", []string{"guest", "exit", "0"}, &os.ProcAttr{})
	check(err)
}

func cwd([]string) {
	dir, err := os.Getwd()
	check(err)
	fmt.Println(dir)
}

// mknod makes a block device node and tries to open it.
func mknod(args []string) {
	major, err := strconv.Atoi(args[1])
	check(err)
	fmt.Println("made", syscall.Mknod(args[0], syscall.S_IFBLK|0o600, major<<8))
	_, err = os.Open(args[0])
	fmt.Println("opened", err)
}

func list(args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(dir)
		fmt.Println(dir, len(entries), err)
	}
}

// touch tries to make each file.
func touch(args []string) {
	for _, name := range args {
		fmt.Println(name, os.WriteFile(name, []byte("x"), 0o600))
	}
}

// sleep does nothing for ever, and catches no signal.
func sleep([]string) {
	fmt.Println("sleeping")
	for {
		time.Sleep(time.Hour)
	}
}
