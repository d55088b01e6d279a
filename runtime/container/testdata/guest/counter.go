//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	mux.HandleFunc("/ticks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ticks.Load()) })
	check(http.Serve(l, mux))
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
