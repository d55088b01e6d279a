// Command workers is a web server as PHP sites are: a fixed number of workers, each of
// which waits for a database most of the time that a request takes. One replica so carries
// workers/wait requests a second, whatever processors there are, and what comes on top
// waits for a worker. WORKERS and WAIT say how many, and for how long. GET /burn?for=20ms is
// a page that takes so much of a processor instead.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

func serve() error {
	workers, err := strconv.Atoi(os.Getenv("WORKERS"))
	if err != nil {
		return fmt.Errorf("WORKERS: %w", err)
	}
	wait, err := time.ParseDuration(os.Getenv("WAIT"))
	if err != nil {
		return fmt.Errorf("WAIT: %w", err)
	}
	free := make(chan struct{}, workers)
	http.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		free <- struct{}{}
		time.Sleep(wait) // the database
		<-free
		fmt.Fprintln(w, "hello")
	})
	http.HandleFunc("GET /burn", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		burn(d)
		fmt.Fprintln(w, "burnt")
	})
	server := &http.Server{Addr: ":80", ReadHeaderTimeout: time.Minute}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// burn uses a processor for so long by the kernel's account, however long that takes.
func burn(d time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for end := used() + d; used() < end; {
	}
}

// used is the processor time of this thread.
func used() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // every kernel has this clock
	}
	return time.Duration(t.Nano())
}
