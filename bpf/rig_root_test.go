package bpf

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

// What programs return.
const (
	actOK       = 0
	actShot     = 2
	actRedirect = 7
	actUnspec   = ^uint32(0)
)

func pinDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("/sys/fs/bpf", testutil.Unique(t))
	t.Cleanup(func() {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openAt(t testing.TB, o Options) *Datapath {
	t.Helper()
	if o.MaxSites == 0 {
		o.MaxSites = testSites
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = testFlows
	}
	d, err := Open(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// rig is a data path of which the programs are run by hand.
type rig struct {
	*Datapath
	held   *HeldReader
	events *EventReader
}

const (
	testDevice = 1 // any number does where nothing is really sent
	testSink   = 1
	testCap    = 4
	testSites  = 1024
	testFlows  = 8192 // the tables are made whole, and each time

	testSiteFlows = 1024
)

func newRig(t testing.TB) *rig {
	t.Helper()
	return rigOf(t, byHand.take(t))
}

// newSocketRig is for tests whose sockets run the programs. They make them for
// replica 5 or for nobody.
func newSocketRig(t testing.TB) *rig {
	t.Helper()
	r := rigOf(t, ofSocket.take(t))
	if err := r.AttachCgroup(ownCgroup); err != nil {
		t.Fatal(err)
	}
	return r
}

func rigOf(t testing.TB, d *Datapath) *rig {
	t.Helper()
	err := d.updateSettings(func(s *dpFcSettings) {
		*s = dpFcSettings{HoldPerSite: testCap}
		s.setFlows(testSiteFlows)
	})
	err = errors.Join(err, d.objs.FcProofs.Put(uint32(0), dpFcProof{})) // nobody is asked
	if err := errors.Join(err, d.SetDevice(testDevice), d.SetSink(testSink)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"10.77.0.0/16", "fd77:fc::/64"} {
		p := netip.MustParsePrefix(p)
		if err := d.objs.FcPrefixes.Put(dpFcPrefixKey{Prefixlen: uint32(mappedBits(p)), Addr: toAddr(p.Addr())}, uint32(1)); err != nil {
			t.Fatal(err)
		}
	}
	// there is no route anywhere here, and what there is none to counts as the node's
	if err := d.SetRule(Rule{Target: TargetHost}, true); err != nil {
		t.Fatal(err)
	}
	r := &rig{Datapath: d}
	if r.held, err = d.Held(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.held.Close() })
	if r.events, err = d.Events(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.events.Close() })
	return r
}

// skbContext is the head of struct __sk_buff; where a packet came in and where it is now is all that is set.
type skbContext struct {
	_       [9]uint32
	Ingress uint32
	Ifindex uint32
	_       [37]uint32
}

func run(t testing.TB, p *ebpf.Program, frame []byte, ifindex int) uint32 {
	t.Helper()
	ret, err := runRaw(p, frame, ifindex)
	if err != nil {
		t.Fatalf("run %v with %d bytes: %v", p, len(frame), err)
	}
	return ret
}

func runRaw(p *ebpf.Program, frame []byte, ifindex int) (uint32, error) {
	o := &ebpf.RunOptions{Data: frame}
	if ifindex != 0 {
		o.Context = skbContext{Ifindex: uint32(ifindex)}
	}
	return p.Run(o)
}

// counted is what a step changes in the counters.
type counted map[string]uint64

func (r *rig) counters(t testing.TB) counted {
	t.Helper()
	c, err := r.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c counted) since(before counted) counted {
	out := counted{}
	for name, n := range c {
		if n != before[name] {
			out[name] = n - before[name]
		}
	}
	return out
}

// want runs the program at a device (0: the loopback device) and compares what
// it returns and counts.
func (r *rig) want(t testing.TB, what string, p *ebpf.Program, frame []byte, ifindex int, ret uint32, counts counted) {
	t.Helper()
	before := r.counters(t)
	got := run(t, p, frame, ifindex)
	diff := r.counters(t).since(before)
	delete(diff, "cell_taken") // two flows of a test may have the same cell: which one each has is chosen at random
	if got != ret || !maps.Equal(diff, counts) {
		t.Errorf("%s: returned %d and counted %v, want %d and %v", what, int32(got), diff, int32(ret), counts)
	}
}

// device does so with the steering program.
func (r *rig) device(t testing.TB, what string, p packet, ret uint32, counts counted) {
	t.Helper()
	r.want(t, what, r.objs.FcDevice, p.frame(), 0, ret, counts)
}

var (
	toSink  = counted{"sink": 1}
	steered = counted{"steered": 1}
	holds   = counted{"held": 1}
)

// nextHeld returns the next held packet, if there is one.
func (r *rig) nextHeld(t testing.TB) (HeldPacket, bool) {
	t.Helper()
	r.held.r.SetDeadline(time.Now())
	p, err := r.held.Read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return p, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, true
}

func (r *rig) nextEvent(t testing.TB) (Event, bool) {
	t.Helper()
	r.events.r.SetDeadline(time.Now())
	ev, err := r.events.Read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ev, false
	}
	if err == nil && ev.Kind == EventReady {
		_, _, err = r.TakePorts(ev.Replica)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ev, true
}

func (r *rig) noHeld(t testing.TB) {
	t.Helper()
	if p, any := r.nextHeld(t); any {
		t.Errorf("held: %+v", p)
	}
}

var (
	vip4 = netip.MustParseAddr("10.77.0.2")
	vip6 = netip.MustParseAddr("fd77:fc::2")
)

// listen makes a site known by TCP 80 (bit 0), TCP 443 (1) and UDP 53 (2) of
// an address of each family.
func (r *rig) listen(t testing.TB, site SiteID, addrs ...netip.Addr) {
	t.Helper()
	ls := map[Listener]ListenerSite{}
	for _, a := range addrs {
		ls[Listener{a, 80, TCP}] = ListenerSite{Site: site, PortBit: 0}
		ls[Listener{a, 443, TCP}] = ListenerSite{Site: site, PortBit: 1}
		ls[Listener{a, 53, UDP}] = ListenerSite{Site: site, PortBit: 2}
	}
	if err := r.PutListeners(ls); err != nil {
		t.Fatal(err)
	}
}

// replica adds one that listens on the ports of the masks.
func (r *rig) replica(t testing.TB, id ReplicaID, site SiteID, ready4, ready6 uint32) {
	t.Helper()
	err := r.AddReplica(id, Replica{
		Site: site, Ifindex: 1000 + int(id), NSID: -1, Cookie: uint64(id) << 40, VIP4: vip4, VIP6: vip6,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.change(t, id, func(v *dpFcReplica) { v.Ready4, v.Ready6 = ready4, ready6 })
}

// change does what only the programs do otherwise.
func (r *rig) change(t testing.TB, id ReplicaID, f func(*dpFcReplica)) {
	t.Helper()
	var v dpFcReplica
	err := r.objs.FcReplicas.Lookup(uint32(id), &v)
	if err == nil {
		f(&v)
		err = r.objs.FcReplicas.Put(uint32(id), v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) site(t testing.TB, id SiteID, s Site) {
	t.Helper()
	if err := r.SetSite(id, s); err != nil {
		t.Fatal(err)
	}
}

func replicas(ids ...ReplicaID) (out []SiteReplica) {
	for _, id := range ids {
		out = append(out, SiteReplica{ID: id})
	}
	return out
}

func flowKey(p packet) dpFcFlowKey {
	return dpFcFlowKey{
		Client: toAddr(p.src.Addr()), Vip: toAddr(p.dst.Addr()),
		ClientPort: swap16(p.src.Port()), VipPort: swap16(p.dst.Port()), Proto: uint8(p.proto),
	}
}

// flowOf returns the replica and the uplink that the tables of flows have for a
// packet.
func (r *rig) flowOf(t testing.TB, p packet) (replica ReplicaID, uplink int) {
	t.Helper()
	k := flowKey(p)
	var f dpFcFlow
	switch err := r.objs.FcFlows.Lookup(k, &f); {
	case err == nil:
		return ReplicaID(f.Replica), int(f.Uplink)
	case !errors.Is(err, ebpf.ErrKeyNotExist):
		t.Fatal(err)
	}
	for _, cells := range []*ebpf.Map{r.objs.FcHandshakes, r.objs.FcDatagrams, r.objs.FcOwnFlows} {
		var at dpFcCellKey
		var c dpFcCell
		for it := cells.Iterate(); it.Next(&at, &c); {
			if (dpFcFlowKey{Client: c.Client, Vip: at.Vip, ClientPort: c.ClientPort, VipPort: c.VipPort, Proto: c.Proto}) == k {
				return ReplicaID(c.Flow.Replica), int(c.Flow.Uplink)
			}
		}
	}
	return 0, 0
}
