package netctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/fcnode/fcnode/runtime/thread"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const defaultPool = 4

// Net is the node's network: what [Setup] has made.
type Net struct {
	cfg     Config
	node    *netlink.Handle
	remover *remover
	nodeNS  *os.File
	dp      Datapath
	sysctls *sysctlLog
	log     *slog.Logger
	device  int // index
	sink    *pair
	pool    *Pool
	egress  *egress

	endGuard func() // ends the guard of egress; nil: there is none
	mtu      int

	close    sync.Once
	closeErr error
}

// Setup makes the network of the node in the calling thread's network
// namespace, or adopts what an earlier daemon has left there; running replicas
// are not disturbed. On an error what this call has made is taken back.
//
// It fails with [*MissingCapabilityError], [*MissingUplinkError],
// [*ForeignDeviceError], [*OverlapError] and [ErrNoIPv6] before anything is
// changed, and with [*LinkKindError], [*ShadowedError] or an error of the
// kernel's after.
func Setup(ctx context.Context, cfg Config, dp Datapath, log *slog.Logger) (*Net, error) {
	if cfg.Pool == 0 {
		cfg.Pool = defaultPool
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	if err := checkCapabilities(cfg); err != nil {
		return nil, err
	}
	nodeNS, err := currentNetns()
	if err != nil {
		return nil, err
	}
	n := &Net{cfg: cfg, egress: newEgress(cfg), nodeNS: nodeNS, dp: dp, log: log}
	err = thread.InNetns(nodeNS, func() error {
		if n.node, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("opening netlink: %w", err)
		}
		if n.remover, err = newRemover(); err != nil {
			return err
		}
		if err := n.check(); err != nil {
			return err
		}
		var undo undoList
		if err := n.apply(ctx, &undo); err != nil {
			return undo.run(err)
		}
		return nil
	})
	if err != nil {
		n.letGo()
		return nil, fmt.Errorf("setting up the network: %w", err)
	}
	return n, nil
}

// check looks for reasons to refuse, and changes nothing.
func (n *Net) check() error {
	if n.cfg.has6() && !haveIPv6() {
		return ErrNoIPv6
	}
	links, err := dump(n.node.LinkList)
	if err != nil {
		return fmt.Errorf("listing devices: %w", err)
	}
	if n.mtu, err = n.mtuFor(links); err != nil {
		return err
	}
	for _, l := range links {
		switch l.Attrs().Name {
		case n.cfg.Device:
			err = errors.Join(err, ours(l, kindNames()...))
		case n.cfg.sinkName():
			err = errors.Join(err, ours(l, "veth"))
		}
	}
	if err != nil {
		return err
	}
	have, err := readInUse(n.node)
	if err != nil {
		return err
	}
	// What lies on the device itself is of an earlier configuration.
	have = slices.DeleteFunc(have, func(u inUse) bool { return u.device == n.cfg.Device })
	return findOverlap(n.cfg.Prefixes, have)
}

func (n *Net) mtuFor(links []netlink.Link) (int, error) {
	var names []string
	byName := map[string]netlink.Link{}
	for _, l := range links {
		names = append(names, l.Attrs().Name)
		byName[l.Attrs().Name] = l
	}
	slices.Sort(names)
	mtu := 0
	var errs []error
	for _, u := range n.cfg.Uplinks {
		l, ok := byName[u]
		if !ok {
			errs = append(errs, &MissingUplinkError{Uplink: u, Have: names})
			continue
		}
		if mtu == 0 || l.Attrs().MTU < mtu {
			mtu = l.Attrs().MTU
		}
	}
	if n.cfg.MTU != 0 {
		mtu = n.cfg.MTU
	}
	if mtu == 0 {
		mtu = 1500
	}
	return mtu, errors.Join(errs...)
}

// apply makes what is missing. The routes come last but for the uplinks' part,
// so that no packet comes before its programs.
func (n *Net) apply(ctx context.Context, undo *undoList) error {
	if err := os.MkdirAll(n.cfg.RunDir, 0o700); err != nil {
		return fmt.Errorf("making the run directory: %w", err)
	}
	var err error
	if n.sysctls, err = openSysctlLog(n.cfg.sysctlLogPath()); err != nil && !n.tolerable(err) {
		return err
	}
	if err := n.dp.SetPrefixes(n.cfg.Prefixes); err != nil {
		return err
	}
	for _, step := range []func(*undoList) error{
		n.ensureDevice, n.ensureSink, n.routes, n.forward, n.leave, n.attachUplinks,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(undo); err != nil {
			return err
		}
	}
	if err := n.dp.PruneReplicaPins(); err != nil { // they take some memory, and are tried again
		n.log.Error("pins of replicas that are gone stay", "error", err)
	}
	n.pool, err = newPool(n)
	return err
}

// tolerable hands a damaged record of changed settings to who can move it away.
// The node serves without it; it only cannot put back what it does not know.
func (n *Net) tolerable(err error) bool {
	var damaged *DamagedRecordError
	if !errors.As(err, &damaged) || n.cfg.Damaged == nil {
		return false
	}
	n.cfg.Damaged(damaged)
	return true
}

func (n *Net) ensureDevice(undo *undoList) error {
	link, err := findLink(n.node, n.cfg.Device)
	if err != nil {
		return err
	}
	if link == nil {
		if err := addDevice(n.node, n.cfg.Device, n.mtu); err != nil {
			return err
		}
		if link, err = n.node.LinkByName(n.cfg.Device); err != nil {
			return fmt.Errorf("finding device %s just made: %w", n.cfg.Device, err)
		}
		undo.add(func() error { return deleteLink(n.node, link) })
	}
	n.device = link.Attrs().Index
	if link.Attrs().MTU != n.mtu {
		if err := n.node.LinkSetMTU(link, n.mtu); err != nil {
			return fmt.Errorf("setting the MTU of %s to %d: %w", n.cfg.Device, n.mtu, err)
		}
	}
	for _, s := range deviceSettings(n.cfg.Device) {
		if err := s.writeIfThere(); err != nil {
			return err
		}
	}
	if err := quiet(n.node, link); err != nil {
		return err
	}
	if err := n.dp.AttachDevice(n.device); err != nil {
		return err
	}
	return n.dp.SetDevice(n.device)
}

// deviceSettings of the device: replies of replicas come in by it, from VIPs
// whose route is the device, so even the strict filter would agree; the loose
// one also does where rules send VIPs elsewhere.
func deviceSettings(device string) []sysctl {
	return []sysctl{
		{conf6(device, "disable_ipv6"), "0"},
		{conf6(device, "accept_ra"), "0"},
		{conf6(device, "forwarding"), "1"}, // else programs are told nothing of IPv6 routes (bpf_fib_lookup)
		{conf6(device, "accept_redirects"), "0"},
		{conf4(device, "accept_redirects"), "0"},
		{conf4(device, "send_redirects"), "0"},
		{conf4(device, "rp_filter"), "2"},
	}
}

func (n *Net) ensureSink(undo *undoList) (err error) {
	if n.sink, err = adoptSink(n.node, n.cfg); err != nil {
		return fmt.Errorf("adopting the sink: %w", err)
	}
	if n.sink == nil {
		if n.sink, err = makeSink(n.node, n.cfg, n.mtu); err != nil {
			return err
		}
		undo.add(n.removeSink)
	}
	if err := n.dp.AttachSink(n.sink.host); err != nil {
		return err
	}
	return n.dp.SetSink(n.sink.host)
}

func (n *Net) removeSink() error {
	link, err := findLink(n.node, n.cfg.sinkName())
	if err == nil && link != nil && ours(link, "veth") == nil {
		err = deleteLink(n.node, link)
	}
	return errors.Join(err, unpinNetns(n.cfg.sinkPath(), n.cfg.MountNS))
}

func (n *Net) routes(undo *undoList) error {
	if err := ensureRoutes(n.node, n.cfg.Prefixes, n.device, undo); err != nil {
		return err
	}
	return checkRoutes(n.node, n.cfg.Prefixes, n.device)
}

func (n *Net) forward(undo *undoList) error {
	links, err := dump(n.node.LinkList)
	if err != nil {
		return fmt.Errorf("listing devices: %w", err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	plan, err := forwardingPlan(n.cfg, names, n.sysctls.before)
	if err != nil {
		return err
	}
	if err := n.sysctls.keepOnly(plan); err != nil {
		return err
	}
	return n.sysctls.apply(plan, undo)
}

// attachUplinks attaches to the uplinks, and detaches from those of an earlier
// configuration.
func (n *Net) attachUplinks(undo *undoList) error {
	old := n.sysctls.Uplinks
	for _, u := range old {
		if !slices.Contains(n.cfg.Uplinks, u) {
			if err := n.detachUplink(u); err != nil {
				return err
			}
		}
	}
	n.sysctls.Uplinks = n.cfg.Uplinks
	if err := n.sysctls.save(); err != nil {
		return err
	}
	undo.add(func() error { n.sysctls.Uplinks = old; return n.sysctls.save() })
	for _, u := range n.cfg.Uplinks {
		l, err := n.node.LinkByName(u)
		if err != nil {
			return fmt.Errorf("finding uplink %s: %w", u, err)
		}
		if err := n.dp.SetUplink(l.Attrs().Index, n.sysctls.opened(conf4(u, "forwarding")),
			n.sysctls.opened(conf6("all", "forwarding")) || n.sysctls.opened(conf6(u, "force_forwarding"))); err != nil {
			return err
		}
		if err := n.dp.AttachUplink(l.Attrs().Index); err != nil {
			return err
		}
		if !slices.Contains(old, u) {
			undo.add(func() error { return n.dp.DetachUplink(l.Attrs().Index) })
		}
	}
	return nil
}

func (n *Net) detachUplink(name string) error {
	l, err := findLink(n.node, name)
	if err != nil || l == nil {
		return err // gone, and its program with it
	}
	return n.dp.DetachUplink(l.Attrs().Index)
}

// Pool is the node's pool of prepared network namespaces.
func (n *Net) Pool() *Pool { return n.pool }

// DeviceIfindex is the index of the device.
func (n *Net) DeviceIfindex() int { return n.device }

// SinkIfindex is the index of the sink's host end.
func (n *Net) SinkIfindex() int { return n.sink.host }

// Release opens the way by which held packets go back to the device. It is the
// caller's to close.
func (n *Net) Release() (*PacketInjector, error) { return n.injector(n.cfg.Device, n.device) }

// Refuse opens the way by which held packets meet the sink. It is the caller's
// to close.
func (n *Net) Refuse() (*PacketInjector, error) { return n.injector(n.cfg.sinkName(), n.sink.host) }

func (n *Net) injector(name string, ifindex int) (i *PacketInjector, err error) {
	err = thread.InNetns(n.nodeNS, func() error {
		i, err = newPacketInjector(name, ifindex)
		return err
	})
	return i, err
}

// Close ends the pool and lets go of everything; what lies on the machine
// stays and works on, for the next daemon. Namespaces that were given out are to
// be closed or left before.
func (n *Net) Close() error {
	n.close.Do(func() {
		err := n.pool.Close()
		n.letGo()
		n.closeErr = err
	})
	return n.closeErr
}

func (n *Net) letGo() {
	_ = n.unguardEgress() // cannot fail
	if n.sink != nil {
		_ = n.sink.close() // a read-only descriptor
	}
	if n.remover != nil {
		n.remover.close()
	}
	if n.node != nil {
		n.node.Close()
	}
	_ = n.nodeNS.Close() // likewise
}

// Remove takes away everything that Setup has made, here or in an earlier
// daemon, with the host ends of replicas that are left, and puts the changed
// settings back. It does all that it can and joins the errors. Net is closed
// after it.
func (n *Net) Remove() error {
	err := n.pool.Close()
	_ = n.unguardEgress() // or it would put back what is removed
	err = errors.Join(err, thread.InNetns(n.nodeNS, func() error {
		var errs []error
		for _, u := range n.cfg.Uplinks {
			errs = append(errs, n.detachUplink(u))
		}
		n.sysctls.Uplinks = nil
		errs = append(errs, n.sysctls.save(), n.sysctls.putBack(func(change) bool { return true }),
			removeRoutes(n.node), n.removeSink(), n.removeEgress())
		links, listErr := dump(n.node.LinkList)
		errs = append(errs, listErr)
		for _, l := range links {
			_, replica := replicaNumber(l.Attrs().Name)
			switch {
			case replica && ours(l, "veth") == nil:
				errs = append(errs, n.dp.DetachReplica(l.Attrs().Index), deleteLink(n.node, l))
			case l.Attrs().Index == n.device:
				errs = append(errs, deleteLink(n.node, l))
			}
		}
		return errors.Join(errs...)
	}))
	err = errors.Join(err, n.Close())
	if err != nil {
		return fmt.Errorf("removing the network: %w", err)
	}
	return nil
}
