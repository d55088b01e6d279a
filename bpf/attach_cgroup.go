package bpf

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// AttachCgroup attaches the programs that see the replicas' sockets to the
// cgroup (an absolute path on a cgroup2 mount) above all replicas.
func (d *Datapath) AttachCgroup(path string) error {
	for _, h := range []struct {
		name string
		at   ebpf.AttachType
		prog *ebpf.Program
	}{
		{"sockops", ebpf.AttachCGroupSockOps, d.objs.FcSockops},
		{"bind4", ebpf.AttachCGroupInet4PostBind, d.objs.FcBind4},
		{"bind6", ebpf.AttachCGroupInet6PostBind, d.objs.FcBind6},
		{"release", ebpf.AttachCgroupInetSockRelease, d.objs.FcRelease},
		{"ingress", ebpf.AttachCGroupInetIngress, d.objs.FcCountIn},
		{"egress", ebpf.AttachCGroupInetEgress, d.objs.FcCountOut},
	} {
		if err := d.attachCgroup(path, h.name, h.at, h.prog); err != nil {
			return fmt.Errorf("attach %s program to cgroup %s: %w", h.name, path, err)
		}
	}
	return nil
}

func (d *Datapath) attachCgroup(path, name string, at ebpf.AttachType, prog *ebpf.Program) error {
	pin := filepath.Join(linksDir(d.opts.PinDir), "cgroup-"+name)
	old, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		defer old.Close()
		same, err := onCgroup(old, path)
		if err != nil {
			return err
		}
		if same {
			return old.Update(prog)
		}
		if err := os.Remove(pin); err != nil {
			return fmt.Errorf("remove the link to a cgroup that is gone: %w", err)
		}
	} else if err := os.RemoveAll(pin); err != nil { // something that is no link
		return fmt.Errorf("remove what is in the place of pinned link %s: %w", pin, err)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: at, Program: prog})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(pin)
}

// onCgroup compares the link's cgroup with the path's: the id of a cgroup is
// the inode number of its folder (64 bit: cgroups(7) and name_to_handle_at).
func onCgroup(l link.Link, path string) (bool, error) {
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("ask the kernel about the pinned link: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, fmt.Errorf("look at the cgroup: %w", err)
	}
	cg := info.Cgroup()
	return cg != nil && cg.CgroupId == st.Ino, nil
}
