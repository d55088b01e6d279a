// Command fcnode-demo-site is the site that `fcnode demo`, the end-to-end tests
// and the benches run in a container: a small HTTP server, linked statically.
//
//	GET /           a greeting that names the instance and the client's address
//	GET /count      how many times this has been asked
//	GET /bytes?n=N  N bytes (at most 64 MiB)
//	GET /sleep?d=D  answers after D (a Go duration, at most one minute)
//	GET /exit?code=N  ends the process
//
// Environment: PORT (80); LISTEN (host part, default all addresses); MODE:
// "serve" (default), "exit" (ends at once with code 3), "deaf" (runs without
// listening), "slow" (listens after DELAY), "stubborn" (does not heed SIGTERM).
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fcnode-demo-site:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch os.Getenv("MODE") {
	case "", "serve":
	case "exit":
		fmt.Println("ending at once, as asked")
		os.Exit(3)
	case "deaf":
		<-ctx.Done()
		return nil
	case "slow":
		d, err := time.ParseDuration(os.Getenv("DELAY"))
		if err != nil {
			return fmt.Errorf("DELAY: %w", err)
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil
		}
	case "stubborn":
		ctx = context.Background()
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	default:
		return fmt.Errorf("MODE %q: allowed are serve, exit, deaf, slow, stubborn", os.Getenv("MODE"))
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "80"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("LISTEN"), port))
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	return serve(ctx, ln)
}

func serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", greet)
	var visits atomic.Uint64
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "count %d\n", visits.Add(1))
	})
	mux.HandleFunc("GET /bytes", sendBytes)
	mux.HandleFunc("GET /sleep", sleep)
	mux.HandleFunc("GET /exit", exit)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		// what is under way is answered before the end
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- srv.Shutdown(end)
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func greet(w http.ResponseWriter, r *http.Request) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	fmt.Fprintf(w, "Hello %s, this is %s (process %d), asked for at %s.\n", r.RemoteAddr, host, os.Getpid(), r.Host)
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > 64<<20 {
		http.Error(w, "n: a number from 0 to 67108864", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	chunk := make([]byte, 32<<10)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	for n > 0 {
		m, err := w.Write(chunk[:min(n, len(chunk))])
		if err != nil {
			return
		}
		n -= m
	}
}

func sleep(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("d"))
	if err != nil || d < 0 || d > time.Minute {
		http.Error(w, "d: a duration from 0s to 1m", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		fmt.Fprintln(w, "slept", d)
	case <-r.Context().Done():
	}
}

func exit(_ http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.URL.Query().Get("code"))
	if err != nil {
		code = 0
	}
	fmt.Println("ending with code", code, "as asked")
	os.Exit(code)
}
