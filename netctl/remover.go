package netctl

import (
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// remover takes devices away by a netlink handle of its own: that takes ten
// times as long as making them, and a handle does one thing at a time. After
// close it does nothing more: an unusable handle would silently work in the
// network namespace of whichever thread calls it.
type remover struct {
	mu sync.Mutex
	h  *netlink.Handle // nil once closed
}

// newRemover must be called on a thread in the node's namespace.
func newRemover() (*remover, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &remover{h: h}, nil
}

func (r *remover) remove(l netlink.Link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h == nil {
		return fmt.Errorf("remove device %s: the network is %w", l.Attrs().Name, ErrClosed)
	}
	return deleteLink(r.h, l)
}

func (r *remover) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.h != nil {
		r.h.Close()
		r.h = nil
	}
}
