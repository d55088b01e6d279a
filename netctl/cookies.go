package netctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/thread"
)

const (
	cookiesAlways     = "2" // of tcp_syncookies
	cookiesWhenNeeded = "1" // the kernel's default in each namespace

	primerPort = 1 // nobody connects from it
	primerWait = time.Second
)

// ExpectCookies has whoever listens at an address within the namespace make connections
// of handshakes that the data path has begun by a cookie. A kernel looks for cookies
// only where it has sent some in the last two minutes, so the listener is made to send
// one: to nobody, from and to its own address, while the namespace says that cookies are
// to be sent always. Nothing leaves the namespace, and no connection comes of it. A
// daemon that dies meanwhile leaves a namespace that sends cookies to all its clients,
// until the next call.
func (n *Namespace) ExpectCookies(at netip.AddrPort) error {
	ns, err := n.own()
	if err == nil {
		defer ns.Close()
		err = thread.InNetns(ns, func() error {
			if err := (sysctl{"net/ipv4/tcp_syncookies", cookiesAlways}).write(); err != nil {
				return err
			}
			return errors.Join(prime(at), sysctl{"net/ipv4/tcp_syncookies", cookiesWhenNeeded}.write())
		})
	}
	if err != nil {
		return fmt.Errorf("have the listener at %s within the namespace behind %s expect cookies: %w", at, n.name, err)
	}
	return nil
}

// prime sends a SYN in the calling thread's namespace and waits for the answer.
func prime(at netip.AddrPort) error {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd) // nothing is lost
	wait := unix.NsecToTimeval(primerWait.Nanoseconds())
	// Bound and connected to the one address, it gets little else than the answer.
	if err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, addr), unix.Connect(fd, addr),
	); err != nil {
		return fmt.Errorf("bind a raw socket to %s: %w", at.Addr(), err)
	}
	if _, err := unix.Write(fd, primer(at)); err != nil {
		return fmt.Errorf("send a SYN: %w", err)
	}
	buf := make([]byte, 2048)
	for end := time.Now().Add(primerWait); time.Now().Before(end); {
		size, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the answer to a SYN: %w", err)
		}
		answered, refused := isAnswer(buf[:size], at)
		if refused {
			return fmt.Errorf("send a SYN: %w", unix.ECONNREFUSED)
		}
		if answered {
			return nil
		}
	}
	return fmt.Errorf("wait for the answer to a SYN: %w", unix.ETIMEDOUT)
}

const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// primer is a TCP header: a SYN from the address to itself.
func primer(at netip.AddrPort) []byte {
	b := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(b, primerPort)
	binary.BigEndian.PutUint16(b[2:], at.Port())
	const words, windowAt = tcpHeader / 4, 14
	b[12], b[13] = words<<4, tcpSYN
	binary.BigEndian.PutUint16(b[windowAt:], 0xffff)
	addr := at.Addr().AsSlice()
	pseudo := 2*sum(addr) + unix.IPPROTO_TCP + tcpHeader
	binary.BigEndian.PutUint16(b[tcpChecksum:], ^fold(pseudo+sum(b)))
	return b
}

// isAnswer tells whether what a raw socket has received (of IPv4 with its header)
// answers the primer.
func isAnswer(b []byte, at netip.AddrPort) (yes, refused bool) {
	if at.Addr().Is4() {
		if !whole4(b) {
			return false, false
		}
		b = b[int(b[0]&0xf)*4:]
	}
	if len(b) < tcpHeader || binary.BigEndian.Uint16(b) != at.Port() || binary.BigEndian.Uint16(b[2:]) != primerPort {
		return false, false
	}
	return b[13]&(tcpSYN|tcpACK) == tcpSYN|tcpACK, b[13]&tcpRST != 0
}
