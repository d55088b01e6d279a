package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// counter is a server with state: ADDRESS [MIB of heap] [FILE to write to] [FILE that grows as long as it runs].
//
//	GET /count   counts up, in memory, and says it in the log
//	GET /random  a random number of a generator that was seeded at the start
//	GET /heap    the sum of one byte of each page of the heap
//	GET /file    the content of the file, which is kept open
//	GET /ticks   how often a timer has run
//	GET /say     opens its output by its names, and writes there
//	GET /fork    the same sum, modulo 64, by a forked process, which ends
//	GET /thread  has a thread end
//	GET /exec    becomes a server anew, without a heap
//
// SIGTERM ends it with code 7.
func counter(args []string) {
	heap := make([]byte, 0)
	if len(args) > 1 {
		mib, err := strconv.Atoi(args[1])
		check(err)
		heap = make([]byte, mib<<20)
		fill := rand.New(rand.NewPCG(1, 2))
		for i := 0; i+8 <= len(heap); i += 8 { // nothing that could be packed
			v := fill.Uint64()
			for b := range 8 {
				heap[i+b] = byte(v >> (8 * b))
			}
		}
	}
	var file *os.File
	if len(args) > 2 {
		var err error
		file, err = os.OpenFile(args[2], os.O_RDWR|os.O_CREATE, 0o600)
		check(err)
		check2(file.WriteString("kept"))
	}
	var trace *os.File
	if len(args) > 3 {
		var err error
		trace, err = os.OpenFile(args[3], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		check(err)
	}
	random := rand.NewChaCha8([32]byte{}) // replaced: a generator as programs have them, seeded from the kernel once
	random.Seed(seed())
	var count, ticks atomic.Int64
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			ticks.Add(1)
			if trace != nil {
				check2(trace.WriteString("."))
			}
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		os.Exit(7)
	}()
	l, err := net.Listen("tcp", args[0])
	check(err)
	fmt.Println("listening", l.Addr())
	var mu sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) {
		n := count.Add(1)
		fmt.Println("count", n)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/random", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%016x", random.Uint64())
	})
	mux.HandleFunc("/heap", func(w http.ResponseWriter, _ *http.Request) {
		sum := 0
		for i := 0; i < len(heap); i += os.Getpagesize() {
			sum += int(heap[i])
		}
		fmt.Fprint(w, sum)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 100)
		n, _ := file.ReadAt(b, 0) // the end of the file comes early
		check2(w.Write(b[:n]))
	})
	mux.HandleFunc("/say", func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2"} {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err == nil {
				_, err = fmt.Fprintln(f, "said by", name)
				_ = f.Close()
			}
			fmt.Fprintln(w, err)
		}
	})
	mux.HandleFunc("/fork", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, forkSum(heap)) })
	mux.HandleFunc("/thread", func(http.ResponseWriter, *http.Request) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // never unlocked, so that the thread ends with this
		}()
		<-done
	})
	mux.HandleFunc("/exec", func(http.ResponseWriter, *http.Request) {
		// The listener closes on exec. Closed before, Serve would return, and
		// main end the process first.
		check(syscall.Exec("/proc/self/exe", []string{"/bin/guest", "counter", args[0]}, os.Environ()))
	})
	mux.HandleFunc("/ticks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ticks.Load()) })
	check(http.Serve(l, mux))
}

// forkSum has a forked process touch the heap. In it nothing of Go's runtime works, so it does nothing else.
func forkSum(heap []byte) int {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	page := os.Getpagesize()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		check(errno)
	}
	if pid == 0 {
		sum := 0
		for i := 0; i < len(heap); i += page {
			sum += int(heap[i])
		}
		for {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(sum%64), 0, 0)
		}
	}
	var status syscall.WaitStatus
	_, err := syscall.Wait4(int(pid), &status, 0, nil)
	check(err)
	return status.ExitStatus()
}

// family is a server of several processes: ADDRESS PROCESSES MIB. All accept from the same socket, and each has a heap of
// its own.
//
//	GET /heap   the sum of one byte of each of its pages, of whichever process answers
func family(args []string) {
	l, err := net.Listen("tcp", args[0])
	check(err)
	n, err := strconv.Atoi(args[1])
	check(err)
	file, err := l.(*net.TCPListener).File()
	check(err)
	for range n {
		cmd := exec.Command("/bin/guest", "member", args[2])
		cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{file}, os.Stdout, os.Stderr
		check(cmd.Start())
		defer cmd.Wait() // it does not end before this one
	}
}

// member is one of its processes: MIB.
func member(args []string) {
	mib, err := strconv.Atoi(args[0])
	check(err)
	heap := make([]byte, mib<<20)
	fill := rand.New(rand.NewPCG(1, 2))
	for i := range heap {
		heap[i] = byte(fill.Uint32())
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	check(err)
	fmt.Println("listening", os.Getpid())
	check(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sum := 0
		for i := 0; i < len(heap); i += os.Getpagesize() {
			sum += int(heap[i])
		}
		fmt.Fprint(w, sum)
	})))
}

func seed() (s [32]byte) {
	f, err := os.Open("/dev/urandom")
	check(err)
	defer f.Close() // read only
	check2(f.Read(s[:]))
	return s
}

// links says where the links in a folder lead, without the numbers of the kernel.
func links(args []string) {
	entries, err := os.ReadDir(args[0])
	check(err)
	for _, e := range entries {
		target, err := os.Readlink(args[0] + "/" + e.Name())
		check(err)
		name, _, _ := strings.Cut(target, ":[")
		fmt.Println(e.Name(), name)
	}
}
