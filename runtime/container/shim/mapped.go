package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fcnode/fcnode/criu"
	"github.com/fcnode/fcnode/runtime/container/mounts"
	"github.com/fcnode/fcnode/runtime/container/wire"
	"github.com/fcnode/fcnode/runtime/volume"
	"golang.org/x/sys/unix"
)

// A container with a user namespace of its own is restored into one that has other
// numbers of the machine, whichever range is free. What it has on disk and in its image
// has the numbers that it sees itself; the range is in two places only: one file
// of the image, and libcontainer's record.

// mapOwners makes the namespace by which files are mapped, and a mount of the image for
// CRIU. The processes that it restores read it themselves, first as root of the
// machine and then as that of their user namespace: so it is readable for all, in
// a folder that nobody else can enter.
func (r *restorer) mapOwners() (err error) {
	if r.opts.IDs == 0 {
		return nil
	}
	if r.mapping, err = volume.NewMapping(uint32(r.opts.IDs)); err != nil {
		return err
	}
	r.ownImages, err = mounts.CloneFolder(r.heldImages())
	return err
}

// mountMapped mounts the image and the cgroup in CRIU's mount namespace. Of the file with the users of its
// processes CRIU sees another one, of this restore. The image stays as it is, and
// others may be restored from it.
func (r *restorer) mountMapped() error {
	if r.mapping == nil {
		return nil
	}
	name, content, err := criu.Relocate(r.heldImages(), r.mapping.Root)
	if err != nil {
		return err
	}
	at, changed := imagesDir(r.opts.mountDir()), filepath.Join(r.opts.mountDir(), name) // in CRIU's own folder
	if err := os.WriteFile(changed, content, 0o644); err != nil {
		return fmt.Errorf("changing the users of a checkpoint's processes: %w", err)
	}
	if err := unix.Mount(r.opts.Cgroup, cgroupDir(r.opts.mountDir()), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the container's cgroup: %w", err)
	}
	tree := r.ownImages
	defer tree.Close() // mounted by then
	if r.ownImages, err = mounts.Images(tree, at, name, changed); err != nil {
		return fmt.Errorf("mounting a checkpoint: %w", err)
	}
	return nil
}

// mappedDir is where the mounts of a container with a user namespace are prepared. The
// processes that CRIU restores look up the names of what it mounts themselves, as nobody on this
// machine, and the folder of the node may be below one that is root's alone. Every machine has
// this one, everybody may enter it, and in CRIU's own mount namespace nobody needs it.
const mappedDir = "/sys/fs/bpf"

// mountDir is where CRIU's mounts are prepared, in its mount namespace.
func (o Options) mountDir() string {
	if o.IDs != 0 {
		return mappedDir
	}
	return o.RunDir
}

// rootfs is where the root file system is mounted.
func (r *restorer) rootfs() string {
	if r.mapping == nil {
		return r.req.Rootfs
	}
	return filepath.Join(mappedDir, wire.RootfsDir)
}

// mountRoot mounts the root file system.
func (r *restorer) mountRoot(layers mounts.Layers, root mounts.Root) error {
	if r.mapping == nil {
		return layers.Overlay(root)
	}
	tree, err := layers.Mapped(root, r.mapping)
	if err != nil {
		return err
	}
	defer tree.Close()
	return mounts.MoveTo(tree, root.Target)
}

// reviseIDs changes the numbers of the machine in libcontainer's record.
func reviseIDs(doc map[string]json.RawMessage, ids wire.IDs) error {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(doc["config"], &config); err != nil {
		return err
	}
	mapping, err := json.Marshal([]map[string]int64{{"container_id": 0, "host_id": int64(ids), "size": wire.IDCount}})
	if err != nil {
		return err
	}
	config["uid_mappings"], config["gid_mappings"] = mapping, mapping
	doc["config"], err = json.Marshal(config)
	return err
}
