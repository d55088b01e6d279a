package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/fcnode/fcnode/runtime/volume"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// Init in a user namespace of its own can neither enter a network namespace that
// the initial one owns, nor mount what is not its own, nor look up names in the
// node's folders. So libcontainer puts it into its network namespace before it
// makes the user namespace, this process makes the mounts, and Gate moves them
// to their places.

// private is what a runner knows ahead of any request of a container with a user
// namespace of its own.
type private struct {
	ids   wire.IDs
	netns *os.File
}

// configure makes libcontainer make the namespace.
func (p *private) configure(config *configs.Config) {
	ids := []configs.IDMap{{ContainerID: 0, HostID: int64(p.ids), Size: wire.IDCount}}
	config.UIDMappings, config.GIDMappings = ids, ids
	config.Namespaces = append(config.Namespaces, configs.Namespace{Type: configs.NEWUSER},
		configs.Namespace{Type: configs.NEWNET, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.netns.Fd())})
}

// preparePrivate gives Gate what it cannot mount itself, gives the container its
// output, and its network namespace the rights that its programs have there.
func (s *server) preparePrivate(output ...*os.File) error {
	for _, f := range output {
		if err := f.Chown(int(s.private.ids), int(s.private.ids)); err != nil {
			return fmt.Errorf("giving the container its output: %w", err)
		}
	}
	if err := thread.InNetns(s.private.netns, unprivilegedNetwork); err != nil {
		return err
	}
	dev, sys, err := mounts.MappedSystem(uint32(s.private.ids), s.private.netns)
	if err != nil {
		return err
	}
	defer dev.Close()
	defer sys.Close()
	if err := wire.Send(s.gate, struct{}{}, dev, sys); err != nil {
		return errors.Join(<-s.started, fmt.Errorf("preparing a container: %w", err)) // init has died
	}
	return nil
}

// mapping is how init's user namespace sees files; nil if it has none of its own.
func (s *server) mapping() (*volume.Mapping, error) {
	if s.private == nil {
		return nil, nil
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", s.init.Pid))
	if err != nil {
		return nil, fmt.Errorf("finding the user namespace of the container: %w", err)
	}
	return &volume.Mapping{Userns: ns, Root: uint32(s.private.ids)}, nil
}

// mappedRoot makes the root file system.
func mappedRoot(req wire.StartRequest, mapping *volume.Mapping) (*os.File, error) {
	layers, err := mounts.OpenLayers(req.ID, req.Lower)
	if err != nil {
		return nil, err
	}
	defer layers.Close()
	if err := makeUpper(req, layers); err != nil {
		return nil, err
	}
	return layers.Mapped(rootOf(req), mapping)
}

// stageDir is where init in a user namespace prepares its mounts, in its own
// mount namespace: a folder that every machine has and everybody can enter.
const stageDir = "/tmp"

// prepareMapped is mounts.System and mountSys for an init in a user namespace.
func (g *gate) prepareMapped() error {
	fds, err := wire.Recv(g.conn, &struct{}{})
	if err == nil && len(fds) != 2 {
		err = fmt.Errorf("%d descriptors came", len(fds))
	}
	if err != nil {
		return fmt.Errorf("receiving /dev and /sys of the container: %w", err)
	}
	dev, sys := fds[0], fds[1]
	defer dev.Close()
	defer sys.Close()
	g.system, g.rootfs = stageDir, filepath.Join(stageDir, wire.RootfsDir)
	if err := unix.Mount("tmpfs", stageDir, "tmpfs", mounts.Quiet, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("mounting a folder for the mounts of the container: %w", err)
	}
	for _, name := range append(wire.SystemMounts(), wire.RootfsDir) {
		err = errors.Join(err, os.Mkdir(filepath.Join(stageDir, name), 0o755))
	}
	if err == nil {
		err = mounts.System(g.system, dev)
	}
	if err == nil {
		err = mountSys(g.system, sys)
	}
	return err
}

// placeRoot mounts the root file system.
func (g *gate) placeRoot(root *os.File) error {
	if err := mounts.MoveTo(root, g.rootfs); err != nil {
		return fail(wire.KindRootfs, "mounting the root file system of container %s: %w", g.req.ID, err)
	}
	return root.Close()
}
