package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A clsact qdisc belongs to whoever made it. That it was us is marked by a
// folder beside the pins, as bpffs holds nothing else.
func qdiscMark(d *Datapath, ifindex int) string {
	return filepath.Join(d.opts.PinDir, "clsact-"+strconv.Itoa(ifindex))
}

func clsactOf(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// ensureClsact adds the qdisc that the filters hang on.
func ensureClsact(d *Datapath, h hook, ifindex int) error {
	err := netlink.QdiscAdd(clsactOf(ifindex))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("add clsact (is sch_ingress there?): %w", err)
	}
	if h.name != hookUplink.name {
		return nil // it goes with its device, which is ours
	}
	if err := os.Mkdir(qdiscMark(d, ifindex), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.Join(fmt.Errorf("note that clsact is ours: %w", err), netlink.QdiscDel(clsactOf(ifindex)))
	}
	return nil
}

// removeClsact removes the qdisc if it is ours and nobody else has a filter on
// it.
func removeClsact(d *Datapath, ifindex int) error {
	err := os.Remove(qdiscMark(d, ifindex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil //nolint:nilerr // the device is gone, and its qdisc with it
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	if err := netlink.QdiscDel(clsactOf(ifindex)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}
