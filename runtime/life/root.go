package life

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fcnode/fcnode/runtime/archive"
	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/probe"
	"github.com/fcnode/fcnode/runtime/site"
)

// Runs says whether a replica is awake, so that it need not be roused.
func Runs(st *Site, r *Replica) (is bool) {
	st.With(func(l *Live) {
		if l.Activity != nil {
			m, ok := l.Machine.Replica(r.ID)
			is = ok && m.State != site.Asleep && m.State != site.Suspending
		}
	})
	return is
}

// OpenRoot opens the root folder of a replica, and says whose numbers its files have.
func (r *Replica) OpenRoot() (*os.File, archive.Owners, error) {
	fd, err := inside{r: r}.Root()
	if err != nil {
		return nil, archive.Owners{}, err
	}
	root := os.NewFile(uintptr(fd), "/")
	owners, err := archive.OwnersOf(r.Ctr.Pid())
	if _, ended := r.Ctr.Exit(); ended { // and its number may be another's by now
		err = container.ErrNotRunning
	}
	if err != nil {
		return nil, owners, errors.Join(err, root.Close())
	}
	return root, owners, nil
}

// dialTime bounds a connection within a namespace: nothing is far away there.
const dialTime = 5 * time.Second

// Connect connects to a port within a replica; without an address by the first one that
// accepts. It comes from a loopback address, so it is no visitor.
func Connect(ctx context.Context, st *Site, r *Replica, addr netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if !addr.IsValid() {
		return probe.Target{Replica: inside{Namespace: r.ns, r: r}, Addrs: st.Addrs()}.Reach(ctx, int(port))
	}
	from := netip.IPv6Loopback()
	if addr.Is4() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	c, err := r.ns.Dial(ctx, from, netip.AddrPortFrom(addr, port))
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("nobody listens on %s", netip.AddrPortFrom(addr, port))
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("no answer from %s within %s", netip.AddrPortFrom(addr, port), dialTime)
	}
	return c, err
}
