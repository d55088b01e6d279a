package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Client is another machine: a network namespace with one cable to the node.
type Client struct {
	ns    netns.NsHandle
	cable string // the node's end of it
}

// newMachine makes one and gives both ends of its cable, the node's being a
// device of that name, their addresses.
func newMachine(cable, nodeAddr, addr string) (*Client, error) {
	c := &Client{cable: cable}
	if err := c.make(); err != nil {
		return nil, fmt.Errorf("make the network namespace behind %s: %w", cable, err)
	}
	if err := c.connect(nodeAddr, addr); err != nil {
		return nil, errors.Join(fmt.Errorf("connect %s to the node: %w", addr, err), c.ns.Close())
	}
	return c, nil
}

// Start starts a command on the machine.
func (c *Client) Start(cmd *exec.Cmd) error {
	return thread.Throwaway(func() error {
		if err := netns.Set(c.ns); err != nil {
			return fmt.Errorf("enter the network namespace behind %s: %w", c.cable, err)
		}
		return cmd.Start()
	})
}

// make makes the namespace on a thread that is thrown away.
func (c *Client) make() error {
	return thread.Throwaway(func() (err error) {
		c.ns, err = netns.New()
		return err
	})
}

func (c *Client) connect(nodeAddr, addr string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.cable
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(c.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	node, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer node.Close()
	far, err := netlink.NewHandleAt(c.ns)
	if err != nil {
		return err
	}
	defer far.Close()
	if err := up(node, c.cable, nodeAddr+prefixLen); err != nil {
		return err
	}
	if err := up(node, "lo", ""); err != nil {
		return err
	}
	if err := up(far, "lo", ""); err != nil {
		return err
	}
	if err := up(far, "eth0", addr+prefixLen); err != nil {
		return err
	}
	return defaultRoute(far, "eth0", nodeAddr)
}

func up(h *netlink.Handle, name, addr string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if addr != "" {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return h.LinkSetUp(l)
}

func defaultRoute(h *netlink.Handle, name, via string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
}

// FD is the descriptor of the machine's network namespace.
func (c *Client) FD() int { return int(c.ns) }

// close takes the cable away at once: the kernel lets a namespace end later
// than its last descriptor, and the next stage needs the name.
func (c *Client) close() error {
	l, err := netlink.LinkByName(c.cable)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	return errors.Join(err, c.ns.Close())
}

// Get asks for a page by a new connection and says how long it took.
func (c *Client) Get(ctx context.Context, url string) (string, time.Duration, error) {
	transport := &http.Transport{DialContext: c.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	begin := time.Now()
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(body), time.Since(begin), nil
}

// Dial opens a connection from inside of the machine's namespace. A socket
// belongs to the namespace of the thread that makes it.
func (c *Client) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	if err := netns.Set(c.ns); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if back := netns.Set(home); back != nil {
		return nil, errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}
