package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/fcnode/fcnode/runtime/api"
)

func newPortForward(e *env) *cobra.Command {
	var bind, to string
	var req api.ForwardRequest
	cmd := &cobra.Command{
		Use:   "port-forward SITE [LOCAL:]PORT...",
		Short: "Forward ports of this machine to ports inside of a site",
		Long: `Listens on ports of this machine, on 127.0.0.1 and for its users only, and forwards each
connection to a port inside of a running replica of the site: one that listens on
127.0.0.1 there, as databases and debuggers do, or on any other address. Without LOCAL
the two ports are the same; with 0 any free one is taken, and printed.

A connection wakes a site that sleeps, as a visitor does; with --no-wake it is refused.
The replica stays awake while the connection lasts. The site does not count it as a
visitor's. It ends when either end closes it, when its replica ends, or when this
program does. What is sent passes neither the network nor the daemon, so connections
outlive a restart of that; they keep the site awake no longer then.`,
		Example: "  fcnode port-forward db 3306\n  fcnode port-forward blog 8080:80 9229\n  fcnode port-forward blog 0:9003 --no-wake",
		Args:    cobra.MinimumNArgs(2),
	}
	cmd.ValidArgsFunction = completeSites(e, 1)
	flags := cmd.Flags()
	flags.StringVar(&bind, "address", "127.0.0.1", "listen on this `ADDRESS`")
	flags.StringVar(&to, "to", "", "connect to this `ADDRESS` inside (default the site's own, 127.0.0.1 or ::1, the first that accepts)")
	flags.StringVar(&req.Replica, "replica", "", "use the replica with this `ID` (default the oldest)")
	flags.BoolVar(&req.Asleep, "no-wake", false, "leave a site that sleeps asleep")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if to != "" {
			if req.Address, err = netip.ParseAddr(to); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
		}
		client := e.client()
		defer client.Close()
		if _, err := client.Get(cmd.Context(), args[0]); err != nil { // before anything listens
			return err
		}
		f := forwarder{e: e, client: client, site: args[0]}
		defer f.close()
		ctx, end := context.WithCancel(cmd.Context())
		defer end() // of connections, for which close waits
		for _, arg := range args[1:] {
			if err := f.listen(ctx, bind, arg, req); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	}
	return cmd
}

// forwarder joins connections from here with such inside of a site.
type forwarder struct {
	e         *env
	client    *api.Client
	site      string
	listeners []net.Listener
	work      sync.WaitGroup
	mu        sync.Mutex // guards stderr
}

func parseForward(arg string) (local, port uint16, err error) {
	here, there, ok := strings.Cut(arg, ":")
	if !ok {
		there = here
	}
	p, errPort := strconv.ParseUint(there, 10, 16)
	l, errLocal := strconv.ParseUint(here, 10, 16)
	if errPort != nil || errLocal != nil || p == 0 {
		return 0, 0, fmt.Errorf("%q is not [LOCAL:]PORT", arg)
	}
	return uint16(l), uint16(p), nil
}

func (f *forwarder) listen(ctx context.Context, bind, arg string, req api.ForwardRequest) error {
	local, port, err := parseForward(arg)
	if err != nil {
		return err
	}
	req.Port = port
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(bind, strconv.Itoa(int(local))))
	if err != nil {
		return &hinted{err: err, hint: "choose another port: LOCAL:" + strconv.Itoa(int(port)) + ", where LOCAL is 0 for any"}
	}
	f.listeners = append(f.listeners, ln)
	fmt.Fprintf(f.e.stdout, "%s -> %s:%d\n", ln.Addr(), f.site, port)
	f.work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					f.tell(err)
				}
				return
			}
			f.work.Go(func() { f.join(ctx, c.(*net.TCPConn), req) })
		}
	})
	return nil
}

func (f *forwarder) tell(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	report(f.e.stderr, err)
}

// close ends it all.
func (f *forwarder) close() {
	for _, ln := range f.listeners {
		_ = ln.Close() // nobody is told
	}
	f.work.Wait()
}

// join serves one connection.
func (f *forwarder) join(ctx context.Context, here *net.TCPConn, req api.ForwardRequest) {
	defer here.Close()
	there, err := f.client.Connect(ctx, f.site, req)
	if err != nil {
		if ctx.Err() == nil {
			f.tell(err)
		}
		_ = here.SetLinger(0) // it is refused, not ended
		return
	}
	defer there.Close()
	defer context.AfterFunc(ctx, func() {
		_ = here.Close() // both ends, so that the copies end
		_ = there.Close()
	})()
	var copies sync.WaitGroup
	copies.Go(func() { pass(there.Conn, here, there.CloseWrite) })
	copies.Go(func() { pass(here, there.Conn, here.CloseWrite) })
	copies.Wait()
}

// pass copies one way and passes the end on.
func pass(to io.Writer, from io.Reader, end func() error) {
	_, _ = io.Copy(to, from) // whoever broke it off knows
	_ = end()                // it may be closed
}
