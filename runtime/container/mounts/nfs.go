package mounts

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"time"

	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// nfsVersions are those that are asked for, the first one that the server has.
var nfsVersions = []string{"4.2", "4.1"}

// errAway means that a server of a volume did not answer.
var errAway = errors.New("the server does not answer; the site can start when it does, and what has mounted it waits")

// errLinkNFS means that a path on a server leads over a symbolic link.
var errLinkNFS = errors.New("symbolic links on a server are not followed, as their owner could lead them anywhere; give the path that is meant")

// openNFS mounts what a server exports, for this container alone: the mount ends
// with the container, whatever becomes of the daemon. The kernel has one connection
// and one cache for all mounts of a server's export that have the same options.
//
// A server that is away keeps whoever asks it waiting, in the kernel, where only a
// kill ends it. That is another thread, and this process ends with the error.
func (o Opener) openNFS(m wire.Mount) (*os.File, []volume.Source, error) {
	type result struct {
		tree *os.File
		err  error
	}
	got := make(chan result, 1)
	go func() {
		tree, err := o.mountNFS(m)
		got <- result{tree, err}
	}()
	late := time.NewTimer(m.NFS.Within)
	defer late.Stop()
	select {
	case r := <-got:
		return r.tree, nil, r.err
	case <-late.C:
		return nil, nil, fmt.Errorf("%w: nothing came of mounting it within %s", errAway, m.NFS.Within)
	}
}

func (o Opener) mountNFS(m wire.Mount) (*os.File, error) {
	root, err := newNFS(m.NFS)
	if err != nil {
		return nil, explainNFS(m.NFS, err)
	}
	defer root.Close()
	var tree *os.File
	// Mounted for a moment: before Linux 6.15 nothing is cloned of what is mounted nowhere.
	_, err = Layers{root}.attached(o.Attach, func() (*os.File, error) {
		tree, err = o.insideNFS(root, m)
		return nil, err
	})
	if err != nil && tree != nil {
		_ = tree.Close() // nobody has seen it
	}
	return tree, err
}

// insideNFS gives a mount of what lies below the root. Strangers may own folders on
// the way, so no link is followed.
func (o Opener) insideNFS(root *os.File, m wire.Mount) (*os.File, error) {
	name := path.Join(m.NFS.Path, m.Inside)
	fd, err := volume.OpenIn(int(root.Fd()), name, unix.O_PATH, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ELOOP) {
		err = errLinkNFS
	}
	if err != nil {
		return nil, fmt.Errorf("open %s below %s of the server: %w", name, m.NFS.Root, err)
	}
	source := os.NewFile(uintptr(fd), m.Source)
	defer source.Close() // a path descriptor
	if err := volume.CheckKind(source, false); err != nil {
		return nil, err
	}
	return o.clone(source, m)
}

// newNFS makes a detached mount of the root.
func newNFS(n *wire.NFS) (tree *os.File, err error) {
	host := n.Server
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	options := []string{
		"source=" + host + ":" + n.Root, "addr=" + n.Addr, "clientaddr=" + n.Client,
		fmt.Sprintf("port=%d", n.Port), "proto=" + protocol(n.Addr), "sec=sys",
	}
	// 10 s, and twice more: with softerr an access fails after half a minute. With hard, where mount.nfs takes a minute, a request is never
	// sent again for that while its connection lasts (RFC 8881, 2.9.2). It is how soon the kernel finds out that a connection is
	// dead, and what each of the two requests may take by which it takes leave of the server, for which the last process of the replica waits.
	options = append(options, "timeo=100", "retrans=2")
	if n.Soft {
		options = append(options, "softerr")
	} else {
		options = append(options, "hard")
	}
	for _, version := range nfsVersions {
		tree, err = newMount("nfs4", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, append(options, "vers="+version)...)
		if !errors.Is(err, unix.EPROTONOSUPPORT) {
			break
		}
	}
	return tree, err
}

func protocol(addr string) string {
	if ip := net.ParseIP(addr); ip != nil && ip.To4() == nil {
		return "tcp6"
	}
	return "tcp"
}

// explainNFS says what may be done about an error of a mount.
func explainNFS(n *wire.NFS, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENODEV):
		hint = "this kernel has no NFS client (module nfsv4)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = "does the server export it to " + n.Client + "?"
	case errors.Is(err, unix.ENOENT):
		hint = "the server exports no such folder; a path of NFS 4 begins at the server's pseudo-root (fsid=0)"
	case errors.Is(err, unix.EPROTONOSUPPORT):
		hint = "the server has neither NFS 4.2 nor 4.1"
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("mount %s of server %s by NFS: %w: %w", n.Root, n.Server, errAway, err)
	}
	if hint != "" {
		return fmt.Errorf("mount %s of server %s by NFS: %w; %s", n.Root, n.Server, err, hint)
	}
	return fmt.Errorf("mount %s of server %s by NFS: %w", n.Root, n.Server, err)
}
