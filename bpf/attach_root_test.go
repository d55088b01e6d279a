package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachment is one way of attaching to a device.
var attachments = []struct {
	hook   hook
	attach func(*Datapath, int) error
}{
	{hookDevice, (*Datapath).AttachDevice},
	{hookUplink, (*Datapath).AttachUplink},
	{hookReplica, (*Datapath).AttachReplica},
	{hookSink, (*Datapath).AttachSink},
}

// modes are the ways to attach; each is the name of the kernel's feature too.
var modes = []Mode{ModeTCX, ModeClsact}

// attached lists the programs at one side of a device, by tcx and by clsact.
func attached(t testing.TB, ifindex int, egress bool) (tcx, clsact []ebpf.ProgramID) {
	t.Helper()
	at, parent := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS)
	if egress {
		at, parent = ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS
	}
	if haveTCX() == nil {
		res, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: at})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range res.Programs {
			tcx = append(tcx, p.ID)
		}
	}
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		t.Fatal(err)
	}
	filters, err := netlink.FilterList(l, parent)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: no clsact there
		t.Fatal(err)
	}
	for _, f := range filters {
		if f, ok := f.(*netlink.BpfFilter); ok {
			clsact = append(clsact, ebpf.ProgramID(f.Id))
		}
	}
	return tcx, clsact
}

func programID(t testing.TB, p *ebpf.Program) ebpf.ProgramID {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("the kernel tells no id of a program")
	}
	return id
}

// wantAttached checks that exactly this program is at the device, by this mode.
func wantAttached(t testing.TB, when string, h hook, ifindex int, mode Mode, id ebpf.ProgramID) {
	t.Helper()
	wantPrograms(t, when, ifindex, h.egress, mode, id)
	wantPrograms(t, when+", on the other side", ifindex, !h.egress, mode)
}

// wantPrograms checks which programs are at one side of a device. It waits for
// it: the kernel detaches a link that is used no more in a worker of its own.
func wantPrograms(t testing.TB, when string, ifindex int, egress bool, mode Mode, ids ...ebpf.ProgramID) {
	t.Helper()
	testutil.WaitFor(t, 5*time.Second, when, func() error {
		tcx, clsact := attached(t, ifindex, egress)
		got, other := tcx, clsact
		if mode == ModeClsact {
			got, other = clsact, tcx
		}
		if !slices.Equal(got, ids) || len(other) > 0 {
			return fmt.Errorf("programs %v by tcx and %v by clsact, want only %v by %s", tcx, clsact, ids, mode)
		}
		return nil
	})
}

// devicesOf makes a device for each of the attachments.
func devicesOf(t *testing.T) []int {
	out := make([]int, len(attachments))
	for i := range out {
		out[i], _ = deviceOf(t)
	}
	return out
}

// attachAll attaches each program to its device.
func attachAll(t *testing.T, d *Datapath, devices []int) {
	t.Helper()
	for i, a := range attachments {
		if err := a.attach(d, devices[i]); err != nil {
			t.Fatalf("%s: %v", a.hook.name, err)
		}
	}
}

// programs are the numbers that the kernel has given to the programs of the attachments.
func programs(t *testing.T, d *Datapath) []ebpf.ProgramID {
	t.Helper()
	out := make([]ebpf.ProgramID, len(attachments))
	for i, a := range attachments {
		out[i] = programID(t, a.hook.prog(&d.objs))
	}
	return out
}

func wantAllAttached(t *testing.T, when string, devices []int, mode Mode, ids []ebpf.ProgramID) {
	t.Helper()
	for i, a := range attachments {
		wantAttached(t, a.hook.name+" "+when, a.hook, devices[i], mode, ids[i])
	}
}

func TestRootAttachIsIdempotentAndOutlivesTheDaemon(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			o := Options{PinDir: pinDir(t), Mode: mode}
			devices := devicesOf(t)
			d := openAt(t, o)
			ids := programs(t, d)
			for _, when := range []string{"once", "twice"} {
				attachAll(t, d, devices)
				wantAllAttached(t, when, devices, mode, ids)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			wantAllAttached(t, "without the daemon", devices, mode, ids)

			d = openAt(t, o)
			wantAllAttached(t, "before the next daemon attaches", devices, mode, ids)
			attachAll(t, d, devices)
			wantAllAttached(t, "by the next daemon", devices, mode, programs(t, d))
		})
	}
}

func TestRootSwitchOfMode(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "tcx")
	testutil.RequireFeature(t, "clsact")
	dir := pinDir(t)
	devices := devicesOf(t)
	for _, mode := range []Mode{ModeClsact, ModeTCX, ModeClsact, ModeTCX, ModeTCX} {
		d := openAt(t, Options{PinDir: dir, Mode: mode})
		attachAll(t, d, devices)
		wantAllAttached(t, "switched to "+string(mode), devices, mode, programs(t, d))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Somebody else's filter on an uplink stays.
func TestRootFiltersOfOthersStay(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			testutil.RequireFeature(t, "clsact")
			d := openAt(t, Options{PinDir: pinDir(t), Mode: mode})
			ifindex, _ := deviceOf(t)
			if err := netlink.QdiscAdd(clsactOf(ifindex)); err != nil {
				t.Fatal(err)
			}
			other := &netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{
					LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
				},
				Fd: d.objs.FcSinkOut.FD(), Name: "other", DirectAction: true,
			}
			if err := netlink.FilterAdd(other); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(d.AttachUplink(ifindex), d.AttachUplink(ifindex), d.DetachUplink(ifindex)); err != nil {
				t.Fatal(err)
			}
			wantPrograms(t, "only the other's", ifindex, false, ModeClsact, programID(t, d.objs.FcSinkOut))
		})
	}
}

func TestRootDetachUplink(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			dir := pinDir(t)
			d := openAt(t, Options{PinDir: dir, Mode: mode})
			ifindex, _ := deviceOf(t)
			if err := d.AttachUplink(ifindex); err != nil {
				t.Fatal(err)
			}
			for range 2 { // what is gone is no error
				if err := d.DetachUplink(ifindex); err != nil {
					t.Fatal(err)
				}
			}
			wantPrograms(t, "detached", ifindex, false, mode)
			l, err := netlink.LinkByIndex(ifindex)
			if err != nil {
				t.Fatal(err)
			}
			qdiscs, err := netlink.QdiscList(l)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range qdiscs {
				if q.Type() == "clsact" {
					t.Error("the clsact that was made for it is left")
				}
			}
			if left := pins(t, linksDir(dir)); len(left) > 0 {
				t.Errorf("pins left: %v", left)
			}
		})
	}
}

func TestRootAttachToNothing(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			dir := pinDir(t)
			d := openAt(t, Options{PinDir: dir, Mode: mode})
			for _, a := range attachments {
				if err := a.attach(d, 999999); err == nil {
					t.Errorf("%s: attached to a device that does not exist", a.hook.name)
				}
			}
			if left := pins(t, linksDir(dir)); len(left) > 0 {
				t.Errorf("pins left: %v", left)
			}
		})
	}
}

func deleteLink(t testing.TB, ifindex int) {
	t.Helper()
	l, err := netlink.LinkByIndex(ifindex)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRootPinsOfReplicasThatAreGone(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			dir := pinDir(t)
			d := openAt(t, Options{PinDir: dir, Mode: mode})
			stays, _ := deviceOf(t)
			goes, _ := deviceOf(t)
			detached, _ := deviceOf(t)
			device, _ := deviceOf(t)
			for _, ifindex := range []int{stays, goes, detached} {
				if err := d.AttachReplica(ifindex); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.AttachDevice(device); err != nil {
				t.Fatal(err)
			}
			deleteLink(t, goes)
			deleteLink(t, detached)
			for range 2 {
				if err := d.DetachReplica(detached); err != nil {
					t.Errorf("detach from a device that is gone: %v", err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openAt(t, Options{PinDir: dir, Mode: mode})
			if err := d.PruneReplicaPins(); err != nil {
				t.Fatal(err)
			}
			var want []string
			if mode == ModeTCX {
				want = []string{filepath.Base(d.pinPath(hookDevice, device)), filepath.Base(d.pinPath(hookReplica, stays))}
			}
			if got := pins(t, linksDir(dir)); !slices.Equal(got, want) {
				t.Errorf("pins %v, want %v", got, want)
			}
			tcx, clsact := attached(t, stays, false)
			if len(tcx)+len(clsact) != 1 {
				t.Errorf("the one that stays has programs %v, %v", tcx, clsact)
			}
		})
	}
}

// The kernel gives a number again: the pin of the old device must not be taken
// for the new one's.
func TestRootDeviceNumberUsedAgain(t *testing.T) {
	testutil.Privileged(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			testutil.RequireFeature(t, string(mode))
			d := openAt(t, Options{PinDir: pinDir(t), Mode: mode})
			old, _ := deviceOf(t)
			if err := d.AttachReplica(old); err != nil {
				t.Fatal(err)
			}
			deleteLink(t, old)
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Index = testutil.Unique(t), old
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: attrs.Name + "p"}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { deleteLink(t, old) })
			if err := d.AttachReplica(old); err != nil {
				t.Fatal(err)
			}
			wantAttached(t, "to the new device", hookReplica, old, mode, programID(t, d.objs.FcReplicaOut))
		})
	}
}

func TestRootRemove(t *testing.T) {
	testutil.Privileged(t)
	dir := filepath.Join("/sys/fs/bpf", testutil.Unique(t))
	d := openAt(t, Options{PinDir: dir})
	ifindex, _ := deviceOf(t)
	if err := errors.Join(d.AttachDevice(ifindex), d.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin folder is left: %v", err)
	}
	if d.Mode() == ModeTCX {
		wantPrograms(t, "all pins removed", ifindex, true, ModeTCX)
	}
}

var cgroupHooks = []ebpf.AttachType{ebpf.AttachCGroupSockOps, ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind}

func wantCgroup(t testing.TB, when, path string, d *Datapath) {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for i, prog := range []*ebpf.Program{d.objs.FcSockops, d.objs.FcBind4, d.objs.FcBind6} {
		res, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: cgroupHooks[i]})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Programs) != 1 || res.Programs[0].ID != programID(t, prog) {
			t.Errorf("%s: %v has programs %v, want only %d", when, cgroupHooks[i], res.Programs, programID(t, prog))
		}
	}
}

func newCgroup(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup", name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	return path
}

func TestRootAttachCgroup(t *testing.T) {
	testutil.Privileged(t)
	o := Options{PinDir: pinDir(t)}
	name := testutil.Unique(t)
	path := newCgroup(t, name)
	d := openAt(t, o)
	for _, when := range []string{"once", "twice"} {
		if err := d.AttachCgroup(path); err != nil {
			t.Fatal(err)
		}
		wantCgroup(t, when, path, d)
	}
	next := openAt(t, o)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := next.AttachCgroup(path); err != nil {
		t.Fatal(err)
	}
	wantCgroup(t, "by the next daemon", path, next)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	newCgroup(t, name)
	if err := next.AttachCgroup(path); err != nil {
		t.Fatalf("after the cgroup was made anew: %v", err)
	}
	wantCgroup(t, "made anew", path, next)

	other := newCgroup(t, testutil.Unique(t))
	if err := next.AttachCgroup(other); err != nil {
		t.Fatalf("another cgroup: %v", err)
	}
	wantCgroup(t, "another", other, next)
	if err := next.AttachCgroup(filepath.Join(other, "missing")); err == nil {
		t.Error("attached to a cgroup that does not exist")
	}
	wantCgroup(t, "after the failure", other, next)
}
