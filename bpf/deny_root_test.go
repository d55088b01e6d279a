package bpf

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

func (r *rig) deny(t testing.TB, prefix string, until uint64) {
	t.Helper()
	if err := r.SetDenied(netip.MustParsePrefix(prefix), until); err != nil {
		t.Fatal(err)
	}
}

var deniedCount = counted{"denied": 1}

// Whatever a denied source sends ends at the uplink and at fc0: first packets,
// packets of its connections, fragments, ICMP, and what cannot be read.
func TestRootDeniedSourcesAreDropped(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			r.replicaAt(t, 5)
			uplink, _ := deviceOf(t)
			r.site(t, 1, Site{Replicas: replicas(5)})
			first := tcpPacket(f.client, f.web, syn)
			r.want(t, "before", r.objs.FcUplink, first.frame(), uplink, actRedirect, steered)
			r.deny(t, map[string]string{"IPv4": "192.0.2.0/24", "IPv6": "2001:db8::/64"}[f.name], 0)
			ping := packet{src: first.src, dst: first.dst, proto: protoICMP, icmp: 8}
			elsewhere := map[string]string{"IPv4": "198.51.100.1:22", "IPv6": "[2001:db8:1::1]:22"}[f.name]
			if first.src.Addr().Is6() {
				ping.proto, ping.icmp = protoICMPv6, 128
			}
			for what, p := range map[string]packet{
				"first packet":        first,
				"of its connection":   tcpPacket(f.client, f.web, ack, "data"),
				"datagram":            udpPacket(f.client, f.dns, "query"),
				"first fragment":      udpPacket(f.client, f.dns, "query").with(func(p *packet) { p.fragID, p.frag = 1, 0x2000 }),
				"later fragment":      udpPacket(f.client, f.dns, "query").with(func(p *packet) { p.fragID, p.frag = 1, 10 }),
				"echo request":        ping,
				"for the node itself": tcpPacket(f.client, elsewhere, syn),
			} {
				r.want(t, what+", uplink", r.objs.FcUplink, p.frame(), uplink, actShot, deniedCount)
				r.want(t, what+", fc0", r.objs.FcDevice, p.frame(), 0, actOK, deniedCount)
			}
			cut := first.frame()
			r.want(t, "cut off", r.objs.FcUplink, cut[:len(cut)-10], uplink, actShot, deniedCount)
			neighbour := map[string]string{"IPv4": "192.0.3.1:40000", "IPv6": "[2001:db8:0:1::1]:40000"}[f.name]
			r.want(t, "a neighbour", r.objs.FcUplink, tcpPacket(neighbour, f.web, syn).frame(), uplink, actRedirect, steered)
			r.noHeld(t)
		})
	}
}

// A packet of IPv6 that bears the mapped form of an IPv4 address is no way past
// what is said of that address.
func TestRootMappedAddressesAreMalformed(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.device(t, "mapped source", tcpPacket("[::ffff:192.0.2.1]:40000", web6, syn), actOK, counted{"malformed": 1})
	r.device(t, "mapped destination", tcpPacket(client6, "[::ffff:10.77.0.2]:80", syn), actOK, counted{"malformed": 1})
	r.noHeld(t)
}

func TestRootDenialEnds(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	first := tcpPacket(client4, web4, syn)
	r.deny(t, "192.0.2.1/32", Now()+uint64(time.Hour))
	r.device(t, "for an hour", first, actOK, deniedCount)
	r.deny(t, "192.0.2.1/32", Now())
	r.device(t, "until now", first, actOK, holds)
}

func TestRootDeniedAreKeptAndListed(t *testing.T) {
	testutil.Privileged(t)
	dir := pinDir(t)
	d := openAt(t, Options{PinDir: dir})
	want := map[netip.Prefix]uint64{}
	for i, text := range []string{"192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "2001:db8::1/128"} {
		p := netip.MustParsePrefix(text)
		want[p] = uint64(i)
		if err := d.SetDenied(p, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openAt(t, Options{PinDir: dir})
	if got, err := d.Denied(); err != nil || !maps.Equal(got, want) {
		t.Errorf("the next daemon finds %v (%v), want %v", got, err, want)
	}
	gone := netip.MustParsePrefix("192.0.2.0/24")
	delete(want, gone)
	for range 2 {
		if err := d.DeleteDenied(gone); err != nil {
			t.Error(err)
		}
	}
	if got, err := d.Denied(); err != nil || !maps.Equal(got, want) {
		t.Errorf("then %v (%v), want %v", got, err, want)
	}
}
