package life

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/fcnode/fcnode/runtime/container"
	"github.com/fcnode/fcnode/runtime/spec"
)

// nfsPatience is how long a server of volumes may take at the most to be connected
// to, and as long again to have a volume mounted: a third of the time that the site has
// to start, if that is less.
const nfsPatience = 30 * time.Second

// shareMount says how a volume by NFS is mounted, if the node's configuration
// allows it. Who serves it is found by reachServers.
func shareMount(roots []string, v spec.Volume) (*container.NFS, error) {
	share, err := spec.ParseShare(v.Source)
	if err != nil {
		return nil, err
	}
	root, inside, err := share.In(roots)
	if err != nil {
		return nil, err
	}
	return &container.NFS{Server: root.Server, Port: root.Port, Root: root.Path, Path: inside, Soft: v.Soft}, nil
}

// reachServers connects to the servers of the volumes, and writes down by which
// addresses. The kernel wants numbers, and would tell of a server that refuses or is
// away much later, and less.
func reachServers(ctx context.Context, mounts []container.Mount, within time.Duration) error {
	for _, m := range mounts {
		if m.NFS == nil {
			continue
		}
		m.NFS.Within = within
		if err := reach(ctx, m.NFS); err != nil {
			return fmt.Errorf("volume %s for %s: its server %s cannot be reached, and the site can start when it can: %w", m.Source, m.Target, m.NFS.Server, err)
		}
	}
	return nil
}

func reach(ctx context.Context, n *container.NFS) error {
	ctx, cancel := context.WithTimeout(ctx, n.Within)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(n.Server, strconv.Itoa(int(n.Port))))
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was sent
	if n.Addr, _, err = net.SplitHostPort(conn.RemoteAddr().String()); err != nil {
		return err
	}
	n.Client, _, err = net.SplitHostPort(conn.LocalAddr().String())
	return err
}

// serversAnswer connects to the servers of a site's volumes before it takes its turn to start: those who wait for one that is away
// keep nobody from starting.
func serversAnswer(ctx context.Context, h *Host, s *spec.Site) error {
	var mounts []container.Mount
	for _, v := range s.Volumes {
		if !spec.IsNFS(v.Source) {
			continue
		}
		nfs, err := shareMount(h.Cfg.NFSRoots, v)
		if err != nil {
			return err
		}
		mounts = append(mounts, container.Mount{Source: v.Source, Target: v.Target, NFS: nfs})
	}
	return reachServers(ctx, mounts, nfsWithin(h, s))
}

func nfsWithin(h *Host, s *spec.Site) time.Duration { return min(nfsPatience, h.startTimeout(s)/3) }
