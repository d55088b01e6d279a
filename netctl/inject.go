package netctl

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Injector puts a held frame (Ethernet, as it was taken off the wire) back. It
// may change the frame.
type Injector interface {
	Inject(frame []byte) error
}

// PacketInjector sends frames out by one device, through its egress programs,
// by an AF_PACKET socket. It is safe for concurrent use.
type PacketInjector struct {
	socket *os.File
	fd     int // of socket, valid until it is closed
	name   string
	index  int
}

// newPacketInjector must be called on a thread in the device's network
// namespace.
func newPacketInjector(name string, ifindex int) (*PacketInjector, error) {
	// Protocol 0: the socket receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket for %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
		_ = unix.Close(fd) // nothing was written
		return nil, fmt.Errorf("bind a packet socket to %s: %w", name, err)
	}
	return &PacketInjector{socket: os.NewFile(uintptr(fd), "packet:"+name), fd: fd, name: name, index: ifindex}, nil
}

// Inject sends the frame. Both hardware addresses become fcnode's own, as a
// frame that an uplink has received names the uplink's, and checksums that were
// left to hardware are completed.
func (p *PacketInjector) Inject(frame []byte) error {
	proto, err := prepareFrame(frame)
	if err != nil {
		return fmt.Errorf("send a held packet by %s: %w", p.name, err)
	}
	to := unix.SockaddrLinklayer{Ifindex: p.index, Protocol: networkOrder(proto)}
	conn, err := p.socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("send a held packet by %s: %w", p.name, err)
	}
	var sendErr error
	err = conn.Control(func(fd uintptr) { sendErr = unix.Sendto(int(fd), frame, 0, &to) })
	if err == nil {
		err = sendErr
	}
	if err != nil {
		return fmt.Errorf("send a held packet by %s: %w", p.name, err)
	}
	return nil
}

// Close closes the socket.
func (p *PacketInjector) Close() error { return p.socket.Close() }

// prepareFrame makes a held frame fit to be sent, and returns its protocol.
func prepareFrame(frame []byte) (etherType uint16, err error) {
	if len(frame) < etherHeader {
		return 0, ErrNotAFrame
	}
	etherType = binary.BigEndian.Uint16(frame[12:])
	whole := false
	switch etherType {
	case unix.ETH_P_IP:
		whole = whole4(frame[etherHeader:])
	case unix.ETH_P_IPV6:
		whole = whole6(frame[etherHeader:])
	}
	if !whole {
		return 0, ErrNotAFrame
	}
	copy(frame[0:], hwAddr)
	copy(frame[6:], hwAddr)
	RepairChecksum(frame[etherHeader:])
	return etherType, nil
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
