//go:build linux

// Command workers is a web server as PHP sites are: a fixed number of workers, each of
// which waits for a database most of the time that a request takes. One replica so carries
// workers/wait requests a second, whatever processors there are, and what comes on top
// waits for a worker. WORKERS and WAIT say how many, and for how long.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
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
