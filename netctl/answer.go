package netctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/thread"
	"golang.org/x/sys/unix"
)

// silence is how long a client of the SinkListeners may leave what it was sent without
// an acknowledgement.
const silence = 5 * time.Second

// SinkListeners listen in the sink's namespace, one for each family that it has, at
// addresses that no packet from outside is for: what they get is the data path's
// choice (bpf.AttachAnswer). The namespace is the Net's.
func (n *Net) SinkListeners(ctx context.Context) (ns *os.File, listeners []*net.TCPListener, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // no such socket can be told to the data path
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { // its connections have it from there
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		})
		return errors.Join(err, set)
	}
	err = thread.InNetns(n.sink.ns, func() error {
		for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
			l, err := lc.Listen(ctx, "tcp", at)
			if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
				continue // no IPv6 there, and so in no prefix
			}
			if err != nil {
				return err
			}
			listeners = append(listeners, l.(*net.TCPListener))
		}
		return nil
	})
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, nil, fmt.Errorf("listen in the sink: %w", err)
	}
	return n.sink.ns, listeners, nil
}
