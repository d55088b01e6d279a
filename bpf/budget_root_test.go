package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/tests/testutil"
)

// limits sets the buckets.
func (r *rig) limits(t testing.TB, source, site Rate) {
	t.Helper()
	err := r.updateSettings(func(s *dpFcSettings) { s.WakeSource, s.WakeSite = source.raw(), site.raw() })
	if err != nil {
		t.Fatal(err)
	}
}

// outside runs a program on a packet that has come in by a link, and says what was counted.
func (r *rig) outside(t testing.TB, prog *ebpf.Program, ifindex int, p packet) counted {
	t.Helper()
	before := r.counters(t)
	if _, err := prog.Run(&ebpf.RunOptions{Data: p.frame(), Context: skbContext{Ingress: 7, Ifindex: uint32(ifindex)}}); err != nil {
		t.Fatal(err)
	}
	return r.counters(t).since(before)
}

// wakes counts those of a number of packets that are held.
func (r *rig) wakes(t testing.TB, n int, packetOf func(i int) packet) (held int) {
	t.Helper()
	for i := range n {
		held += int(r.outside(t, r.objs.FcDevice, 1, packetOf(i))["held"])
	}
	return held
}

// limited reads what was told.
func (r *rig) limited(t testing.TB) (out []Limited) {
	t.Helper()
	l, err := r.Limited()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		l.r.SetDeadline(time.Now())
		one, err := l.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if one.Time == 0 || one.Time > Now() {
			t.Errorf("told of the time %d, it is %d", one.Time, Now())
		}
		one.Time = 0
		out = append(out, one)
	}
}

// many makes a number of parked sites, each at an address of both families.
func (r *rig) many(t testing.TB, n int) (addrs [][2]string) {
	t.Helper()
	for i := range n {
		a4, a6 := netip.AddrFrom4([4]byte{10, 77, 1, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd77:fc::1:%x", i))
		err := r.PutListeners(map[Listener]ListenerSite{
			{Addr: a4, Port: 80, Proto: TCP}: {Site: SiteID(100 + i)}, {Addr: a6, Port: 80, Proto: TCP}: {Site: SiteID(100 + i)},
			{Addr: a4, Port: 53, Proto: UDP}: {Site: SiteID(100 + i)}, {Addr: a6, Port: 53, Proto: UDP}: {Site: SiteID(100 + i)},
		})
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, [2]string{a4.String(), a6.String()})
	}
	return addrs
}

// TestRootScan: who scans the sites wakes so many of them as his network may, whichever of its addresses he pretends to have; others are not
// affected, and it is told once.
func TestRootScan(t *testing.T) {
	testutil.Privileged(t)
	for _, c := range []struct {
		name   string
		family int
		from   func(i int) string
		other  string
		source string
	}{
		{"IPv4", 0, func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, "192.0.3.1", "192.0.2.0/24"},
		{"IPv6", 1, func(i int) string { return fmt.Sprintf("2001:db8:0:5:%x::1", i) }, "2001:db8:0:6::1", "2001:db8:0:5::/64"},
	} {
		for _, proto := range []Proto{TCP, UDP} {
			t.Run(fmt.Sprint(c.name, "/", proto), func(t *testing.T) {
				r := newRig(t)
				addrs := r.many(t, 256)
				r.limits(t, Rate{Burst: 10, Every: time.Hour}, Rate{})
				to := func(i int) netip.AddrPort {
					port := uint16(80)
					if proto == UDP {
						port = 53
					}
					return netip.AddrPortFrom(netip.MustParseAddr(addrs[i][c.family]), port)
				}
				of := func(from string, i int) packet {
					return packet{src: netip.AddrPortFrom(netip.MustParseAddr(from), 1000), dst: to(i), proto: proto, flags: syn, seq: uint32(i)}
				}
				if got := r.wakes(t, 200, func(i int) packet { return of(c.from(i), i) }); got != 10 {
					t.Errorf("a scan from %s wakes %d sites, want 10", c.source, got)
				}
				held := map[Proto]int{TCP: 1, UDP: Flight}[proto] // nobody sees that a datagram is sent again
				if got := r.wakes(t, Flight+5, func(int) packet { return of(c.from(250), 0) }); got != held {
					t.Errorf("%d of several equal packets for a site that wakes are held, want %d", got, held)
				}
				if got := r.wakes(t, 1, func(int) packet { return of(c.other, 250) }); got != 1 {
					t.Error("another network pays for it")
				}
				told := r.limited(t)
				if len(told) != 1 || told[0] != (Limited{Peer: netip.MustParsePrefix(c.source)}) {
					t.Errorf("told %v, want %s once", told, c.source)
				}
				// those of this machine's own are asked by others, who have their own ways
				r.device(t, "a packet of the machine's own", of(c.from(1), 255), actOK, holds)
			})
		}
	}
}

// TestRootSiteWokenForNothing: a site is not woken again and again for nobody; when its time comes it is, and whoever uses it ends that.
func TestRootSiteWokenForNothing(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.many(t, 1)
	const site = 100
	again := func(i int) packet {
		if err := r.ClearHold(site); err != nil { // it sleeps again
			t.Fatal(err)
		}
		return tcpPacket(fmt.Sprintf("198.51.%d.1:1000", i), "10.77.1.0:80", syn) // each from elsewhere
	}
	r.limits(t, Rate{}, Rate{Burst: 3, Every: time.Hour})
	if got := r.wakes(t, 20, again); got != 3 {
		t.Errorf("%d wakes, want 3", got)
	}
	if told := r.limited(t); len(told) != 1 || told[0].Site != site || !told[0].Peer.Contains(netip.MustParseAddr("198.51.3.1")) {
		t.Errorf("told %v, want site %d once", told, site)
	}
	r.limits(t, Rate{}, Rate{Burst: 3, Every: time.Nanosecond}) // another configuration, which does not know of the hours
	if got := r.wakes(t, 20, func(i int) packet { return again(100 + i) }); got != 19 {
		t.Errorf("%d of 20 wakes, though a token comes back at once", got)
	}
}

// TestRootUseGivesWakesBack: a site that somebody uses has all of its wakes again.
func TestRootUseGivesWakesBack(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "netns cookie in sock_ops")
	r, ns := socketRig(t, true)
	l := socketSpec{at: netip.MustParseAddrPort("[::]:80")}.open(t, ns)
	wantReady(t, r, 1, 1)
	spent := dpFcBucket{Full: Now() + uint64(time.Hour)}
	if err := r.objs.FcWakeSite.Put(uint32(1), spent); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, ns, "10.77.0.2:80")
	in := accept(t, l)
	r.wantUse(t, 1, 0)
	if err := r.objs.FcWakeSite.Lookup(uint32(1), &spent); err != nil {
		t.Errorf("an empty connection gives tokens back: %v", err)
	}
	if _, err := conn.Write([]byte("GET")); err != nil {
		t.Fatal(err)
	}
	r.wantUse(t, 1, 1)
	testutil.WaitFor(t, 5*time.Second, "the site's tokens", func() error {
		if err := r.objs.FcWakeSite.Lookup(uint32(1), &spent); !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("still spent: %w", err)
		}
		return nil
	})
	abort(t, conn)
	closeFD(t, in)
}

// TestRootScanOfSleepers: replicas that sleep and can be reached are woken by as few, by either way in, by SYNs and by what pretends to be of
// a connection.
func TestRootScanOfSleepers(t *testing.T) {
	testutil.Privileged(t)
	for name, flags := range map[string]tcpFlags{"SYN": syn, "data": ack | psh} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4)
			r.replica(t, 5, 1, 7, 7)
			r.site(t, 1, Site{Replicas: replicas(5)})
			uplink, _ := deviceOf(t)
			p := tcpPacket(client4, web4, syn)
			r.device(t, "the flow", p, actRedirect, steered)
			p.flags = flags
			if flags != syn {
				p.payload = []byte("x")
			}
			r.limits(t, Rate{Burst: 2, Every: time.Hour}, Rate{})
			for i, prog := range []*ebpf.Program{r.objs.FcDevice, r.objs.FcUplink, r.objs.FcDevice, r.objs.FcUplink} {
				r.asleep(t, 5, true)
				want, counts := 1, steered
				if i >= 2 {
					want, counts = 0, counted{"wake_source": 1}
				}
				if got := r.outside(t, prog, uplink, p); len(got) != 1 || got["steered"] != counts["steered"] || got["wake_source"] != counts["wake_source"] {
					t.Errorf("packet %d: counted %v, want %v", i, got, counts)
				}
				r.wantKnocks(t, fmt.Sprint("packet ", i), want)
			}
			bare := p
			bare.flags, bare.payload = ack, nil
			for _, prog := range []*ebpf.Program{r.objs.FcDevice, r.objs.FcUplink} { // a keepalive, or what answers one
				r.asleep(t, 5, true)
				if got := r.outside(t, prog, uplink, bare); got["steered"] != 1 || got["wake_source"] != 0 {
					t.Errorf("a bare acknowledgement is counted %v", got)
				}
				r.wantKnocks(t, "a bare acknowledgement", 0)
			}
			r.asleep(t, 5, false)
			if got := r.outside(t, r.objs.FcDevice, 1, p); got["steered"] != 1 {
				t.Errorf("awake, and it counts %v", got)
			}
		})
	}
}

// TestRootFloodOfSources: forged sources push out what is known of others; nobody is refused for that.
func TestRootFloodOfSources(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.many(t, 1)
	r.limits(t, Rate{Burst: 1, Every: time.Hour}, Rate{})
	send := func(i, port int) {
		if err := ignoreMissing(r.objs.FcHoldCounts.Delete(uint32(100))); err != nil {
			t.Fatal(err)
		}
		p := tcpPacket(fmt.Sprintf("%d.%d.%d.1:%d", 11+i>>16, i>>8&255, i&255, port), "10.77.1.0:80", syn)
		if _, err := r.objs.FcDevice.Run(&ebpf.RunOptions{Data: p.frame(), Context: skbContext{Ingress: 7, Ifindex: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	before := r.counters(t)
	for i := range 2 * r.objs.FcWakeSource.MaxEntries() {
		send(int(i), 1000)
	}
	send(0, 1001) // pushed out since
	if counts := r.counters(t).since(before); counts["wake_source"] != 0 || counts["map_full"] != 0 {
		t.Errorf("sources that came for the first time: %v", counts)
	}
	send(0, 1002)
	if counts := r.counters(t).since(before); counts["wake_source"] != 1 {
		t.Errorf("a source that has come a second time at once: %v", counts)
	}
}

// TestRootTokensAreForWhatIsHeld: what cannot be held takes no tokens, or a site could be kept from ever waking; and a site of which all replicas
// sleep, whose new flows are held, is woken as one that is parked.
func TestRootTokensAreForWhatIsHeld(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.many(t, 1)
	r.limits(t, Rate{}, Rate{Burst: 1, Every: time.Hour})
	for i := range 5 {
		large := tcpPacket(fmt.Sprintf("192.0.2.1:%d", 2000+i), "10.77.1.0:80", syn, string(make([]byte, 2100)))
		if got := r.outside(t, r.objs.FcDevice, 1, large); got["hold_too_large"] != 1 || got["wake_site"] != 0 {
			t.Errorf("what is too large is counted %v", got)
		}
	}
	if got := r.outside(t, r.objs.FcDevice, 1, tcpPacket("192.0.2.1:1000", "10.77.1.0:80", syn)); got["held"] != 1 {
		t.Errorf("the first one that can be held is counted %v", got)
	}

	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.limits(t, Rate{Burst: 1, Every: time.Hour}, Rate{})
	asleep := Site{Sleeps: true, Replicas: []SiteReplica{{ID: 5, Draining: true}}}
	r.site(t, 1, asleep)
	for i, want := range []string{"held", "wake_source"} {
		if err := ignoreMissing(r.objs.FcHoldCounts.Delete(uint32(1))); err != nil {
			t.Fatal(err)
		}
		p := tcpPacket(fmt.Sprintf("198.51.100.9:%d", 1000+i), web4, syn)
		if got := r.outside(t, r.objs.FcDevice, 1, p); got[want] != 1 {
			t.Errorf("packet %d is counted %v, want %s", i, got, want)
		}
	}
	if all, err := r.Sites(); err != nil || !all[1].Sleeps {
		t.Errorf("the site is read as %+v, %v", all[1], err)
	}
}
