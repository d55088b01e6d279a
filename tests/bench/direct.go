package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// directAddr is that of the plain host beside fcnode: a network namespace
// behind an ordinary routed veth. The prefix is for documentation (RFC 5737).
const (
	directAddr = "192.0.2.2"
	directNode = "192.0.2.1"
)

// plain is a network namespace such as a container manager without fcnode
// would route to.
type plain struct {
	ns   netns.NsHandle
	file *os.File
}

func newPlain() (*plain, error) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("turn forwarding on in the bench's own namespace: %w", err)
	}
	p := &plain{}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		p.ns, err = netns.New()
		done <- err
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	p.file = os.NewFile(uintptr(p.ns), "netns")
	return p, p.cable()
}

func (p *plain) cable() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "plain0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.ns)}); err != nil {
		return err
	}
	node, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer node.Close()
	far, err := netlink.NewHandleAt(p.ns)
	if err != nil {
		return err
	}
	defer far.Close()
	for _, end := range []struct {
		h          *netlink.Handle
		name, addr string
	}{{node, "plain0", directNode + "/24"}, {far, "eth0", directAddr + "/24"}, {far, "lo", ""}} {
		l, err := end.h.LinkByName(end.name)
		if err != nil {
			return err
		}
		if end.addr != "" {
			a, err := netlink.ParseAddr(end.addr)
			if err != nil {
				return err
			}
			if err := end.h.AddrAdd(l, a); err != nil {
				return err
			}
		}
		if err := end.h.LinkSetUp(l); err != nil {
			return err
		}
	}
	eth0, err := far.LinkByName("eth0")
	if err != nil {
		return err
	}
	gw, err := netlink.ParseIPNet(directNode + "/32")
	if err != nil {
		return err
	}
	return far.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gw.IP})
}

// path by which other programs reach the namespace while this process lives.
func (p *plain) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(p.ns)) }

// serve starts the demo site in the namespace, without a container.
func (p *plain) serve(ctx context.Context, o options) (stop func() error, err error) {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+p.path(), filepath.Join(o.bin, "fcnode-demo-site"))
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil { // it says that it listens
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // killed
		return err
	}, nil
}

func (p *plain) close() error { return errors.Join(p.file.Close(), deletePlain()) }

func deletePlain() error {
	l, err := netlink.LinkByName("plain0")
	if err != nil {
		return nil //nolint:nilerr // it went with its namespace
	}
	return netlink.LinkDel(l)
}
