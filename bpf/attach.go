package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clsact filters of ours carry this handle and priority, so that a later
// daemon replaces them instead of adding a second.
const (
	filterHandle   = 0xfc
	filterPriority = 0xfc
)

type hook struct {
	name   string // in pins and filter names
	egress bool
	prog   func(*dpObjects) *ebpf.Program
}

var (
	hookDevice  = hook{"device", true, func(o *dpObjects) *ebpf.Program { return o.FcDevice }}
	hookUplink  = hook{"uplink", false, func(o *dpObjects) *ebpf.Program { return o.FcUplink }}
	hookReplica = hook{"replica", false, func(o *dpObjects) *ebpf.Program { return o.FcReplicaOut }}
	hookSink    = hook{"sink", false, func(o *dpObjects) *ebpf.Program { return o.FcSinkOut }}
)

// AttachDevice attaches the steering program to fc0's egress.
func (d *Datapath) AttachDevice(ifindex int) error { return d.attach(hookDevice, ifindex) }

// AttachUplink attaches the short cut for packets from outside to the ingress
// of an uplink.
func (d *Datapath) AttachUplink(ifindex int) error { return d.attach(hookUplink, ifindex) }

// AttachReplica attaches to the host end of a replica's veth.
func (d *Datapath) AttachReplica(ifindex int) error { return d.attach(hookReplica, ifindex) }

// AttachSink attaches to the host end of the sink's veth.
func (d *Datapath) AttachSink(ifindex int) error { return d.attach(hookSink, ifindex) }

// DetachUplink takes the short cut off an uplink.
func (d *Datapath) DetachUplink(ifindex int) error {
	return errors.Join(d.detach(hookUplink, ifindex), ignoreMissing(d.objs.FcUplinks.Delete(uint32(ifindex))))
}

// DetachReplica removes the pin of a host end, which may be gone already.
func (d *Datapath) DetachReplica(ifindex int) error { return d.detach(hookReplica, ifindex) }

func (d *Datapath) attach(h hook, ifindex int) error {
	var err error
	if d.mode == ModeTCX {
		err = errors.Join(removeFilter(h, ifindex, false), d.attachTCX(h, ifindex))
	} else {
		err = errors.Join(d.unpin(h, ifindex), d.attachClsact(h, ifindex))
	}
	if err != nil {
		return fmt.Errorf("attach %s program to device %d by %s: %w", h.name, ifindex, d.mode, err)
	}
	return nil
}

func (d *Datapath) detach(h hook, ifindex int) error {
	err := d.unpin(h, ifindex)
	if d.mode == ModeClsact {
		err = errors.Join(err, removeFilter(h, ifindex, true))
	}
	if h.name == hookUplink.name {
		err = errors.Join(err, removeClsact(d, ifindex))
	}
	if err != nil {
		return fmt.Errorf("detach %s program from device %d: %w", h.name, ifindex, err)
	}
	return nil
}

func (d *Datapath) pinPath(h hook, ifindex int) string {
	return filepath.Join(linksDir(d.opts.PinDir), fmt.Sprintf("%s-%d", h.name, ifindex))
}

// unpin takes a link off its device, if it still has one, and its pin away. The
// kernel would detach it too when its last user is gone, but some time later.
func (d *Datapath) unpin(h hook, ifindex int) error {
	pin := d.pinPath(h, ifindex)
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_ = l.Detach() // fails if the device is gone; then there is nothing to detach
		l.Close()
	}
	return os.RemoveAll(pin)
}

// attachTCX attaches by a pinned link: it lives as long as its pin and its
// device. A link that an earlier daemon left gets the new program in place,
// without a gap.
func (d *Datapath) attachTCX(h hook, ifindex int) error {
	pin := d.pinPath(h, ifindex)
	old, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		defer old.Close()
		if linkAlive(old, ifindex) {
			return old.Update(h.prog(&d.objs))
		}
	} // what is no link there is in the way, and goes
	if err := d.unpin(h, ifindex); err != nil {
		return err
	}
	at := ebpf.AttachTCXIngress
	if h.egress {
		at = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: h.prog(&d.objs), Attach: at})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(pin)
}

// linkAlive tells a link on this device from one whose device is gone, and
// whose number may since have been given to another.
func linkAlive(l link.Link, ifindex int) bool {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return false
	}
	return int(info.TCX().Ifindex) == ifindex
}

func (d *Datapath) attachClsact(h hook, ifindex int) error {
	if err := ensureClsact(d, h, ifindex); err != nil {
		return err
	}
	f := filterOf(h, ifindex)
	f.Fd = h.prog(&d.objs).FD()
	f.Name = "fcnode-" + h.name
	f.DirectAction = true
	if err := netlink.FilterReplace(f); err != nil {
		return fmt.Errorf("set the filter (is cls_bpf there?): %w", err)
	}
	return nil
}

func filterOf(h hook, ifindex int) *netlink.BpfFilter {
	parent := uint32(netlink.HANDLE_MIN_INGRESS)
	if h.egress {
		parent = netlink.HANDLE_MIN_EGRESS
	}
	return &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: ifindex, Parent: parent, Handle: filterHandle,
		Protocol: unix.ETH_P_ALL, Priority: filterPriority,
	}}
}

// removeFilter takes our filter away; `must` says whether it is expected to
// be there. Devices, qdiscs and filters that are gone are no error.
func removeFilter(h hook, ifindex int, must bool) error {
	f := filterOf(h, ifindex)
	if !must {
		l, err := netlink.LinkByIndex(ifindex)
		if err != nil {
			return nil //nolint:nilerr // the attachment itself will say so
		}
		filters, err := netlink.FilterList(l, f.Parent)
		if err != nil || len(filters) == 0 {
			return nil //nolint:nilerr // no clsact there: nothing of ours either
		}
	}
	err := netlink.FilterDel(f)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// PruneReplicaPins removes the pins of devices that are gone (most of them host
// ends of replicas), which a dead daemon could not remove.
func (d *Datapath) PruneReplicaPins() error {
	entries, err := os.ReadDir(linksDir(d.opts.PinDir))
	if err != nil {
		return fmt.Errorf("list the pinned links: %w", err)
	}
	var errs []error
	for _, e := range entries {
		for _, h := range []hook{hookDevice, hookUplink, hookReplica, hookSink} {
			number, ours := strings.CutPrefix(e.Name(), h.name+"-")
			if !ours {
				continue
			}
			if ifindex, err := strconv.Atoi(number); err == nil && !pinAlive(d, e.Name(), ifindex) {
				errs = append(errs, d.unpin(h, ifindex))
			}
		}
	}
	return errors.Join(errs...)
}

func pinAlive(d *Datapath, name string, ifindex int) bool {
	l, err := link.LoadPinnedLink(filepath.Join(linksDir(d.opts.PinDir), name), nil)
	if err != nil {
		return false
	}
	defer l.Close()
	return linkAlive(l, ifindex)
}
