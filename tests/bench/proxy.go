package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"time"
)

// envProxy makes the program a reverse proxy: "LISTEN FORWARD".
const envProxy = "FCNODE_BENCH_PROXY"

// serveProxy is the process of its own that the proxy is. It ends with its
// standard input.
func serveProxy(arg string) error {
	var listen, forward string
	if _, err := fmt.Sscan(arg, &listen, &forward); err != nil {
		return fmt.Errorf("%s=%q: %w", envProxy, arg, err)
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: forward})
	// The default of two idle connections to a host would make it dial for
	// nearly every request.
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // clients that leave
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	fmt.Println("listening")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that it says
		_ = srv.Close()
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startProxy starts one in the node's network namespace.
func startProxy(ctx context.Context, listen, forward string) (pid int, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), envProxy+"="+listen+" "+forward)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	cmd.SysProcAttr = ownSession() // also, Ctrl-C is for the bench, which ends it
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		return 0, nil, errors.Join(fmt.Errorf("the proxy does not listen: %w", err), in.Close(), cmd.Wait())
	}
	return cmd.Process.Pid, func() error { return errors.Join(in.Close(), cmd.Wait()) }, nil
}
