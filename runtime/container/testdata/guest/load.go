package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// Roles that use up what is limited. Those that do something later do it at
// each SIGUSR1, so that limits can be changed in between.

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

// ask prints "ready" and calls fn at each SIGUSR1; SIGTERM ends it.
func ask(fn func()) {
	c, end := make(chan os.Signal, 1), make(chan os.Signal, 1) // in one the last question would be in the end's place
	signal.Notify(c, syscall.SIGUSR1)
	signal.Notify(end, syscall.SIGTERM)
	fmt.Println("ready")
	for {
		select {
		case <-end:
			os.Exit(7)
		case <-c:
			fn()
		}
	}
}

// spin keeps THREADS processors busy.
func spin(args []string) {
	n := number(args[0])
	runtime.GOMAXPROCS(n + 1)
	for range n {
		go func() {
			for i := uint64(0); ; i++ {
				if i == 0 {
					fmt.Println("spinning")
				}
			}
		}()
	}
	ask(func() {})
}

// fill touches MEGABYTES with a content that is not the same in any two pages.
func fill(megabytes int) []byte {
	b, err := syscall.Mmap(-1, 0, megabytes<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
	check(err)
	for i := 0; i < len(b); i += 4096 {
		*(*uint64)(unsafe.Pointer(&b[i])) = uint64(i) + 1
	}
	return b
}

// hold keeps MEGABYTES, and says at each signal whether they are what they were.
func hold(args []string) {
	b := fill(number(args[0]))
	ask(func() {
		for i := 0; i < len(b); i += 4096 {
			if *(*uint64)(unsafe.Pointer(&b[i])) != uint64(i)+1 {
				fmt.Println("damaged at", i)
				return
			}
		}
		fmt.Println("intact")
	})
}

// grow takes MEGABYTES more at each signal.
func grow(args []string) {
	var all [][]byte
	ask(func() {
		all = append(all, fill(number(args[0])))
		fmt.Println("grown", len(all))
	})
}

// fork tries to start COUNT processes at each signal and says how many it could.
// They are bare forks: a Go program ends when it cannot start a thread of its own.
func fork(args []string) {
	ask(func() {
		started, last := 0, syscall.Errno(0)
		for range number(args[0]) {
			pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
			if errno == 0 && pid == 0 {
				for {
					_, _, _ = syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // for ever
				}
			}
			if errno != 0 {
				last = errno
				break
			}
			started++
		}
		fmt.Println("forked", started, int(last))
	})
}

// disk writes KILOBYTES to FILE past the page cache at each signal, and says how
// many milliseconds that took.
func disk(args []string) {
	const block = 64 << 10
	kilobytes := number(args[1])
	buf, err := syscall.Mmap(-1, 0, block, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS) // aligned
	check(err)
	round := 0
	ask(func() {
		f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|syscall.O_DIRECT, 0o600)
		check(err)
		begin := time.Now()
		for done := 0; done < kilobytes<<10; done += block {
			check2(f.Write(buf))
		}
		round++
		fmt.Println("wrote", round, time.Since(begin).Milliseconds())
		check(f.Close())
	})
}
