package testutil

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// cables counts them; their first ends get indexes far from what the kernel counts up to by itself.
var cables atomic.Int32

const firstCableIndex = 1000

// NS is a network namespace that lives as long as a test (and anything in it that
// still holds it). It is held by a file descriptor only: nothing has to be unmounted.
type NS struct {
	handle netns.NsHandle
	link   *netlink.Handle
}

// NetNS makes a fresh network namespace with lo up. It is let go at the end of the test.
func NetNS(t testing.TB) *NS {
	t.Helper()
	handle, err := newNetNS()
	if err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	ns := &NS{handle: handle}
	t.Cleanup(func() {
		if ns.link != nil {
			ns.link.Close()
		}
		if err := ns.handle.Close(); err != nil {
			t.Errorf("closing a network namespace: %v", err)
		}
	})
	// The handle is made inside: its sockets belong to the namespace for good.
	ns.Do(t, func() {
		ns.link, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	})
	if err != nil {
		t.Fatalf("opening netlink in a new network namespace: %v", err)
	}
	lo, err := ns.link.LinkByName("lo")
	if err == nil {
		err = ns.link.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("setting lo up in a new network namespace: %v", err)
	}
	return ns
}

// newNetNS unshares on a thread that is thrown away, so that no thread of the
// Go runtime is ever left in the wrong namespace by a failure here.
func newNetNS() (h netns.NsHandle, err error) {
	err = thread.Throwaway(func() (err error) {
		h, err = netns.New()
		return err
	})
	return h, err
}

// Do runs fn with the calling goroutine locked to a thread inside of the namespace, and
// comes back to where it was, also when fn ends the test by t.Fatal. What fn
// creates belongs to the namespace (sockets, links, processes it starts), but goroutines
// that fn starts run elsewhere, and so does a net.Dial of a *name*, which
// dials from goroutines: dial addresses. Processes started inside must not use Pdeathsig,
// which fires when the *thread* that started them ends.
func (n *NS) Do(t testing.TB, fn func()) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		t.Fatalf("opening the current network namespace: %v", err)
	}
	defer func() {
		// A thread that cannot go back stays locked, so that the runtime ends it with its goroutine.
		if err := netns.Set(before); err != nil {
			t.Errorf("going back to the previous network namespace: %v", err)
		} else {
			runtime.UnlockOSThread()
		}
		if err := before.Close(); err != nil {
			t.Errorf("closing the previous network namespace: %v", err)
		}
	}()
	if err := netns.Set(n.handle); err != nil {
		t.Fatalf("entering a network namespace: %v", err)
	}
	fn()
}

// FD is the namespace's file descriptor, owned by n.
func (n *NS) FD() int { return int(n.handle) }

// File returns a duplicate of the namespace's file descriptor, owned by the caller.
func (n *NS) File(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(n.handle), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("duplicating a network namespace's descriptor: %v", err)
	}
	return os.NewFile(uintptr(fd), "netns")
}

// Netlink is a route netlink handle of the namespace; usable from any goroutine.
func (n *NS) Netlink() *netlink.Handle { return n.link }

// Cookie is the namespace's cookie, which BPF programs see (SO_NETNS_COOKIE, Linux 5.14).
func (n *NS) Cookie(t testing.TB) uint64 {
	t.Helper()
	var cookie uint64
	n.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("opening a socket for the namespace's cookie: %v", err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil {
			t.Fatalf("reading the namespace's cookie: %v", err)
		}
	})
	return cookie
}

// Start starts cmd inside of the namespace.
func (n *NS) Start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	n.Do(t, func() {
		if err := cmd.Start(); err != nil {
			t.Fatalf("starting %v: %v", cmd.Args, err)
		}
	})
}

// Run runs a program inside of the namespace and returns its output; the test
// fails when the program does.
func (n *NS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out []byte
	n.Do(t, func() {
		var err error
		if out, err = exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	})
	return string(out)
}

// Sysctl writes a value below /proc/sys of the namespace, e.g. "net/ipv4/ip_forward".
func (n *NS) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	n.Do(t, func() {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			t.Fatalf("setting sysctl %s=%s: %v", name, value, err)
		}
	})
}

// Cable joins two namespaces by a veth pair. Both ends are up, are called name in their
// namespace, and carry the addresses given. Duplicate address detection is off, so that
// IPv6 works at once.
func Cable(t testing.TB, a, b *NS, name string, addrA, addrB []netip.Prefix) (linkA, linkB netlink.Link) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	// The kernel mistakes a veth end whose index equals its peer's for a device without lower device and
	// reports its carrier up to a second late (linkwatch_urgent_event). Fresh namespaces
	// count alike, so without this it would happen each time.
	attrs.Index = firstCableIndex + int(cables.Add(1))
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(b.FD())}
	if err := a.link.LinkAdd(pair); err != nil {
		t.Fatalf("creating veth pair %s: %v", name, err)
	}
	linkA, err := plug(a, name, addrA)
	if err != nil {
		t.Fatal(err)
	}
	linkB, err = plug(b, name, addrB)
	if err != nil {
		t.Fatal(err)
	}
	waitUp(t, a, linkA)
	waitUp(t, b, linkB)
	return linkA, linkB
}

// waitUp waits until the link sends. A veth end that was set up before its peer gets its
// queue from a kernel worker later on, and drops what is sent before: a connection would
// start with a lost SYN and take a second.
func waitUp(t testing.TB, n *NS, link netlink.Link) {
	t.Helper()
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		Namespace: &n.handle, ListExisting: true,
	})
	if err != nil {
		t.Fatalf("watching link %s: %v", link.Attrs().Name, err)
	}
	for Receive(t, endsWithin, "link "+link.Attrs().Name+" to be up", updates).Attrs().OperState != netlink.OperUp {
	}
	close(done)
}

func plug(n *NS, name string, addrs []netip.Prefix) (netlink.Link, error) {
	link, err := n.link.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("finding veth end %s: %w", name, err)
	}
	for _, p := range addrs {
		addr, err := netlink.ParseAddr(p.String())
		if err != nil {
			return nil, fmt.Errorf("address %s: %w", p, err)
		}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := n.link.AddrAdd(link, addr); err != nil {
			return nil, fmt.Errorf("adding %s to %s: %w", p, name, err)
		}
	}
	if err := n.link.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("setting %s up: %w", name, err)
	}
	return link, nil
}
