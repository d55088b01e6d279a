package bpf

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// leaving is a site with a replica on a node that has an uplink, as its packets meet
// it.
type leaving struct {
	*rig
	at     int // the replica's host end
	uplink int
}

func newLeaving(t testing.TB) *leaving {
	t.Helper()
	r := newRig(t)
	if err := r.DeleteRule(Rule{Target: TargetHost}); err != nil {
		t.Fatal(err)
	}
	l := &leaving{rig: r}
	l.uplink, _ = deviceOf(t)
	link, err := netlink.LinkByIndex(l.uplink)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ family, addr, router, everywhere string }{
		{"ipv4", "198.51.100.1/24", "198.51.100.2", "0.0.0.0/0"}, {"ipv6", "2001:db8:77::1/64", "2001:db8:77::2", "::/0"},
	} {
		err := os.WriteFile("/proc/sys/net/"+f.family+"/conf/"+link.Attrs().Name+"/forwarding", []byte("1"), 0)
		addr, _ := netlink.ParseAddr(f.addr)
		addr.Flags = unix.IFA_F_NODAD
		_, all, _ := net.ParseCIDR(f.everywhere)
		err = errors.Join(err, netlink.AddrAdd(link, addr),
			netlink.RouteAdd(&netlink.Route{LinkIndex: l.uplink, Dst: all, Gw: net.ParseIP(f.router), Flags: int(netlink.FLAG_ONLINK)}))
		if f.family == "ipv6" { // the kernel adds it some time later
			local := &netlink.Route{LinkIndex: l.uplink, Dst: netlink.NewIPNet(addr.IP), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL}
			err = errors.Join(err, netlink.RouteReplace(local))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd77:fc::/64")}
	if err := errors.Join(r.SetDevice(l.uplink), r.SetPrefixes(prefixes)); err != nil {
		t.Fatal(err)
	}
	r.listen(t, 1, vip4, vip6)
	l.at = r.replicaAt(t, 5)
	r.site(t, 1, Site{Replicas: replicas(5)})
	return l
}

func (l *leaving) passes(t testing.TB, what string, p packet) {
	t.Helper()
	l.want(t, what, l.objs.FcReplicaOut, p.frame(), l.at, actRedirect, counted{"replied_stack": 1})
}

func (l *leaving) refused(t testing.TB, what string, p packet) {
	t.Helper()
	l.want(t, what, l.objs.FcReplicaOut, p.frame(), l.at, actShot, counted{"policy": 1})
}

func (l *leaving) rule(t testing.TB, r Rule, allow bool) {
	t.Helper()
	if err := l.SetRule(r, allow); err != nil {
		t.Fatal(err)
	}
}

func hostOf(at string) string { return netip.MustParseAddrPort(at).Addr().String() }

func port(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }

func own(dst string) string {
	if netip.MustParseAddrPort(dst).Addr().Is4() {
		return "10.77.0.2:50000"
	}
	return "[fd77:fc::2]:50000"
}

// inside are addresses that a site has no business with, all by themselves.
var inside = map[string][]string{
	"IPv4": {
		"10.0.0.1", "10.77.0.3", "10.255.255.255", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "169.254.169.254",
		"127.0.0.1", "127.0.0.53", "0.0.0.0", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "198.51.100.1", "198.51.100.255",
		"198.18.0.1", "168.63.129.16",
	},
	"IPv6": {
		"fd77:fc::3", "fd00::1", "fc00::1", "fe80::1", "fec0::1", "::1", "::", "ff02::1", "ff0e::1", "::10.0.0.1", "fd00:ec2::254",
		"2001:db8:77::1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:a00:1::1", "2002:7f00:1::1",
	},
}

var outsides = map[string][]string{
	"IPv4": {"192.0.2.1", "8.8.8.8", "198.51.100.7", "172.32.0.1", "11.0.0.1", "168.63.129.17"},
	"IPv6": {"2001:db8:1::1", "2001:4860:4860::8888", "64:ff9b::8.8.8.8", "2002:808:808::1"},
}

func TestRootSiteReachesTheInternetOnly(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := newLeaving(t)
			for _, host := range outsides[f.name] {
				to := port(host, 443)
				l.passes(t, "connection to "+to, tcpPacket(own(to), to, syn))
				l.passes(t, "its data", tcpPacket(own(to), to, ack, "data"))
				l.passes(t, "datagram to "+to, udpPacket(own(to), to, "query"))
				l.passes(t, "ping of "+to, ping(own(to), to))
			}
			for _, host := range inside[f.name] {
				to := port(host, 443)
				l.refused(t, "connection to "+to, tcpPacket(own(to), to, syn))
				l.refused(t, "SYN with FIN to "+to, tcpPacket(own(to), to, syn|fin))
				l.refused(t, "SYN with RST to "+to, tcpPacket(own(to), to, syn|rst))
				l.refused(t, "ACK to "+to, tcpPacket(own(to), to, ack, "data"))
				l.refused(t, "SYN-ACK from its port to "+to, tcpPacket(f.web, to, syn|ack))
				l.refused(t, "datagram to "+to, udpPacket(own(to), to, "query"))
				l.refused(t, "datagram from its port to "+to, udpPacket(f.dns, to, "query"))
				l.refused(t, "ping of "+to, ping(own(to), to))
				l.refused(t, "another protocol to "+to, packet{src: netip.MustParseAddrPort(own(to)), dst: netip.MustParseAddrPort(to), proto: 132, payload: make([]byte, 20)})
				l.refused(t, "first fragment to "+to, udpPacket(own(to), to, "query").with(func(p *packet) { p.fragID, p.frag = 1, 0x2000 }))
				l.refused(t, "later fragment to "+to, udpPacket(own(to), to, "query").with(func(p *packet) { p.fragID, p.frag = 1, 10 }))
			}
			l.noHeld(t)
		})
	}
}

func ping(src, dst string) packet {
	p := packet{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: protoICMP, icmp: 8}
	if p.src.Addr().Is6() {
		p.proto, p.icmp = protoICMPv6, 128
	}
	return p
}

// private is a client on one of the node's other networks.
var private = map[string]string{"IPv4": "192.168.1.9:40000", "IPv6": "[fd00::9]:40000"}

// Answers pass wherever the visitor is; what is no answer does not, though a visitor
// has asked from the same address and port.
func TestRootAnswersAlwaysPass(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := newLeaving(t)
			client := private[f.name]
			in, query := tcpPacket(client, f.web, syn), udpPacket(client, f.dns, "query")
			l.refused(t, "before anybody asked", query.reply(0, "answer"))
			l.device(t, "visitor", in, actRedirect, steered)
			l.device(t, "question", query, actRedirect, steered)
			l.passes(t, "SYN-ACK", in.reply(syn|ack))
			l.passes(t, "data", in.reply(ack, "200"))
			l.passes(t, "answer", query.reply(0, "answer"))
			l.passes(t, "first fragment of an answer", query.reply(0, "answer").with(func(p *packet) { p.fragID, p.frag = 7, 0x2000 }))
			l.passes(t, "its rest", query.reply(0, "answer").with(func(p *packet) { p.fragID, p.frag = 7, 10 }))
			l.refused(t, "the rest of another", query.reply(0, "answer").with(func(p *packet) { p.fragID, p.frag = 8, 10 }))
			l.refused(t, "a connection from its port to the visitor's", in.reply(syn))
			l.refused(t, "one with data", in.reply(syn, "data"))
			l.passes(t, "port unreachable, about the question", icmpError(hostOf(f.web), query, unreachable(f.name)).to(client))
			other := udpPacket(port(hostOf(client), 40001), f.dns, "query")
			l.refused(t, "about a question that nobody asked", icmpError(hostOf(f.web), other, unreachable(f.name)).to(client))
			elsewhere := map[string]string{"IPv4": "192.168.1.10:1", "IPv6": "[fd00::10]:1"}[f.name]
			l.refused(t, "about the question, to another", icmpError(hostOf(f.web), query, unreachable(f.name)).to(elsewhere))
		})
	}
}

func unreachable(family string) byte {
	if family == "IPv4" {
		return 3
	}
	return 1
}

// to is the packet with another destination.
func (p packet) to(dst string) packet {
	p.dst = netip.MustParseAddrPort(dst)
	return p
}

// Ways around a look at the destination.
func TestRootNoWayAroundThePolicy(t *testing.T) {
	testutil.Privileged(t)
	l := newLeaving(t)
	out := l.objs.FcReplicaOut
	dstopts := []byte{6, 0, 1, 4, 0, 0, 0, 0} // next: TCP
	l.refused(t, "behind an extension header", tcpPacket(own("[fd00::1]:1"), "[fd00::1]:443", syn).with(func(p *packet) { p.ext, p.extKind = dstopts, 60 }))
	l.passes(t, "an extension header", tcpPacket(own("[fd00::1]:1"), "[2001:db8:1::1]:443", syn).with(func(p *packet) { p.ext, p.extKind = dstopts, 60 }))
	via := tcpPacket(own("[fd00::1]:1"), "[2001:db8:1::1]:443", syn).with(func(p *packet) { p.ext, p.extKind = []byte{6, 0, 4, 0, 0, 0, 0, 0}, 43 })
	l.want(t, "routing header", out, via.frame(), l.at, actShot, counted{})
	routed := tcpPacket(own(client4), client4, syn).with(func(p *packet) { p.options = []byte{131, 7, 4, 10, 0, 0, 1, 0} })
	l.want(t, "source route", out, routed.frame(), l.at, actShot, counted{})
	l.want(t, "mapped destination", out, tcpPacket(own("[fd00::1]:1"), "[::ffff:10.0.0.1]:443", syn).frame(), l.at, actShot, counted{})
	l.want(t, "no source", out, tcpPacket("[::]:1", "[2001:db8:1::1]:443", syn).frame(), l.at, actShot, counted{"spoofed": 1})
	l.want(t, "another's source", out, tcpPacket("10.77.0.9:1", client4, syn).frame(), l.at, actShot, counted{"spoofed": 1})
	cut := tcpPacket(own(client4), client4, syn).frame()
	l.want(t, "ports without flags", out, cut[:len(cut)-12], l.at, actShot, counted{})
	many := make([]byte, 0, 7*8)
	for range 7 {
		many = append(many, 60, 0, 1, 4, 0, 0, 0, 0)
	}
	l.want(t, "more extension headers than are read", out, tcpPacket(own("[fd00::1]:1"), "[fd00::1]:443", syn).with(func(p *packet) { p.ext, p.extKind = many, 60 }).frame(), l.at, actShot, counted{})
}

func TestRootRules(t *testing.T) {
	testutil.Privileged(t)
	addr := func(site SiteID, prefix string, proto Proto, port uint16) Rule {
		return Rule{Site: site, Prefix: netip.MustParsePrefix(prefix), Proto: proto, Port: port}
	}
	tcp := func(to string) packet { return tcpPacket(own(to), to, syn) }
	udp := func(to string) packet { return udpPacket(own(to), to, "query") }
	big := func(to string, frag uint16) packet {
		return udp(to).with(func(p *packet) { p.fragID, p.frag = 9, frag })
	}
	for name, c := range map[string]struct {
		allow, deny     []Rule
		passes, refused []packet
	}{
		"a port of an address": {
			allow:  []Rule{addr(1, "10.1.0.5/32", TCP, 3306), addr(1, "fd00::5/128", TCP, 3306)},
			passes: []packet{tcp("10.1.0.5:3306"), tcp("[fd00::5]:3306")},
			refused: []packet{
				tcp("10.1.0.5:3307"), udp("10.1.0.5:3306"), tcp("10.1.0.6:3306"), tcp("[fd00::6]:3306"), ping(own(web4), "10.1.0.5:1"),
				big("10.1.0.5:3306", 10),
			},
		},
		"of datagrams, in fragments": {
			allow:   []Rule{addr(1, "10.1.0.5/32", UDP, 53)},
			passes:  []packet{big("10.1.0.5:53", 0x2000), big("10.1.0.5:53", 10)},
			refused: []packet{big("10.1.0.6:53", 10)},
		},
		"a network": {
			allow:   []Rule{addr(1, "10.1.0.0/16", 0, 0)},
			passes:  []packet{tcp("10.1.0.5:1"), udp("10.1.255.255:9"), ping(own(web4), "10.1.0.5:1"), big("10.1.0.5:53", 10)},
			refused: []packet{tcp("10.2.0.1:1"), tcp("[fd00::1]:1")},
		},
		"another site's":                 {allow: []Rule{addr(2, "10.1.0.0/16", 0, 0)}, refused: []packet{tcp("10.1.0.5:1")}},
		"the node's, for all":            {allow: []Rule{addr(0, "10.1.0.0/16", 0, 0)}, passes: []packet{tcp("10.1.0.5:1")}},
		"a site's own before the node's": {allow: []Rule{addr(0, "10.1.0.0/16", 0, 0)}, deny: []Rule{addr(1, "10.1.0.0/16", 0, 0)}, refused: []packet{tcp("10.1.0.5:1")}},
		"another site": {
			allow: []Rule{addr(1, "10.77.0.3/32", 0, 0)}, passes: []packet{tcp("10.77.0.3:80")}, refused: []packet{tcp("10.77.0.4:80")},
		},
		"part of the Internet is denied": {
			deny: []Rule{addr(1, "192.0.2.0/24", 0, 0)}, passes: []packet{tcp("192.0.3.1:1")}, refused: []packet{tcp("192.0.2.1:1")},
		},
		"no Internet": {
			deny: []Rule{{Site: 1, Target: TargetInternet}}, refused: []packet{tcp("192.0.2.1:1"), udp("[2001:db8:1::1]:1"), big("192.0.2.1:53", 10)},
		},
		"no Internet but the web": {
			deny: []Rule{{Site: 1, Target: TargetInternet}}, allow: []Rule{{Site: 1, Target: TargetInternet, Proto: TCP, Port: 443}},
			passes: []packet{tcp("192.0.2.1:443")}, refused: []packet{tcp("192.0.2.1:80"), udp("192.0.2.1:443")},
		},
		"no mail": {
			passes: []packet{tcp("192.0.2.1:587"), udp("192.0.2.1:25")}, refused: []packet{tcp("192.0.2.1:25"), tcp("[2001:db8:1::1]:25")},
		},
		"the Internet is no mail": {allow: []Rule{{Site: 1, Target: TargetInternet}}, passes: []packet{tcp("192.0.2.1:26")}, refused: []packet{tcp("192.0.2.1:25")}},
		"mail":                    {allow: []Rule{{Site: 1, Target: TargetInternet, Proto: TCP, Port: 25}}, passes: []packet{tcp("192.0.2.1:25")}},
		"mail to one relay":       {allow: []Rule{addr(1, "192.0.2.1/32", TCP, 25)}, passes: []packet{tcp("192.0.2.1:25")}, refused: []packet{tcp("192.0.2.2:25")}},
		"a port of the node": {
			allow:  []Rule{{Site: 1, Target: TargetHost, Proto: TCP, Port: 443}},
			passes: []packet{tcp("198.51.100.1:443"), tcp("[2001:db8:77::1]:443")}, refused: []packet{tcp("198.51.100.1:22"), tcp("127.0.0.1:443"), tcp("10.1.0.5:443")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeaving(t)
			want := map[Rule]bool{}
			for _, r := range c.allow {
				l.rule(t, r, true)
				want[r] = true
			}
			for _, r := range c.deny {
				l.rule(t, r, false)
				want[r] = false
			}
			if got, err := l.Rules(); err != nil || !maps.Equal(got, want) {
				t.Errorf("the data path has %v (%v), want %v", got, err, want)
			}
			for _, p := range c.passes {
				l.passes(t, fmt.Sprintf("%s to %s", p.proto, p.dst), p)
			}
			for _, p := range c.refused {
				l.refused(t, fmt.Sprintf("%s to %s", p.proto, p.dst), p)
			}
			for r := range want {
				if err := errors.Join(l.DeleteRule(r), l.DeleteRule(r)); err != nil {
					t.Error(err)
				}
			}
			if got, err := l.Rules(); err != nil || len(got) > 0 {
				t.Errorf("%v are left (%v)", got, err)
			}
		})
	}
}

// What was begun before a rule came is looked at anew; what visitors began goes on.
func TestRootResetFlows(t *testing.T) {
	testutil.Privileged(t)
	l := newLeaving(t)
	out, in := tcpPacket(own(client4), client4, syn), tcpPacket(private["IPv4"], web4, syn)
	l.passes(t, "its own", out)
	l.device(t, "visitor", in, actRedirect, steered)
	l.rule(t, Rule{Site: 1, Target: TargetInternet}, false)
	l.passes(t, "as before", tcpPacket(own(client4), client4, ack, "data"))
	if err := l.ResetFlows(vip4, vip6); err != nil {
		t.Fatal(err)
	}
	l.refused(t, "looked at anew", tcpPacket(own(client4), client4, ack, "data"))
	l.passes(t, "the visitor's", in.reply(ack, "200"))
}

func TestRootRefusalsAreToldOnce(t *testing.T) {
	testutil.Privileged(t)
	l := newLeaving(t)
	r, err := l.Refusals()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := func() (Refusal, bool) {
		t.Helper()
		r.r.SetDeadline(time.Now())
		ev, err := r.Read()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return ev, err == nil
	}
	for to, why := range map[string]Why{
		"10.1.0.5:3306": ByPrivate, "10.77.0.3:80": BySite, "198.51.100.1:22": ByHost, "192.0.2.1:25": BySMTP, "[ff02::1]:5353": ByNever,
	} {
		before := Now()
		for range 3 {
			l.refused(t, to, tcpPacket(own(to), to, syn))
		}
		ev, told := next()
		want := Refusal{Time: ev.Time, Site: 1, Replica: 5, To: netip.MustParseAddrPort(to), Proto: TCP, Why: why}
		if !told || ev != want || ev.Time < before || ev.Time > Now() {
			t.Errorf("told %v: %+v, want %+v", told, ev, want)
		}
		if ev, again := next(); again {
			t.Errorf("told again: %+v", ev)
		}
	}
	if err := l.ResetRefusals(1); err != nil {
		t.Fatal(err)
	}
	l.refused(t, "after a change", tcpPacket(own(web4), "10.1.0.5:3306", syn))
	if _, told := next(); !told {
		t.Error("not told anew after a change")
	}
	told := 0
	for i := range 1000 {
		l.refused(t, "a scan", tcpPacket(own(web4), port("10.1.0.5", 1000+i), syn))
	}
	for {
		if _, more := next(); !more {
			break
		}
		told++
	}
	if most := 16 * 60; told == 0 || told > most {
		t.Errorf("of 1000 destinations at once %d were told", told)
	}
}

// What comes in by an uplink is for a VIP or for the machine itself.
func TestRootForeignPackets(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := newLeaving(t)
			up := func(what string, p packet, ret uint32, counts counted) {
				t.Helper()
				l.want(t, what, l.objs.FcUplink, p.frame(), l.uplink, ret, counts)
			}
			client, router, lan := f.client, outsides[f.name][2], inside[f.name][0]
			if f.name == "IPv6" {
				router, lan = "2001:db8:77::7", "fd00::1"
			}
			hosts := map[string]string{"IPv4": "198.51.100.1", "IPv6": "2001:db8:77::1"}[f.name]
			group := map[string]string{"IPv4": "224.0.0.1", "IPv6": "ff02::1"}[f.name]
			spoofed := counted{"spoofed": 1}
			up("VIP as source", tcpPacket(map[string]string{"IPv4": "10.77.9.9:1", "IPv6": "[fd77:fc::99]:1"}[f.name], f.web, syn), actShot, spoofed)
			up("its own address as source", tcpPacket(f.web, f.web, syn), actShot, spoofed)
			up("VIP as source, to the machine", tcpPacket(f.web, port(hosts, 22), syn), actShot, spoofed)
			up("fragment with VIP as source", udpPacket(f.web, port(hosts, 22)).with(func(p *packet) { p.fragID, p.frag = 1, 10 }), actShot, spoofed)
			foreign := []packet{tcpPacket(client, port(lan, 22), syn), udpPacket(client, port(lan, 53), "x"), ping(client, port(router, 1)), tcpPacket(client, port(router, 80), ack)}
			for _, p := range foreign {
				up("no guard", p, actUnspec, counted{})
			}
			if err := l.SetUplink(l.uplink, true, true); err != nil {
				t.Fatal(err)
			}
			for _, p := range foreign {
				up("for another machine", p, actShot, counted{"foreign": 1})
			}
			up("a fragment for another machine", udpPacket(client, port(lan, 53), "x").with(func(p *packet) { p.fragID, p.frag = 1, 10 }), actShot, counted{"foreign": 1})
			for what, p := range map[string]packet{
				"for the machine": tcpPacket(client, port(hosts, 22), syn), "for a group": udpPacket(client, port(group, 5353), "x"),
				"for an unknown VIP": tcpPacket(client, map[string]string{"IPv4": "10.77.9.9:80", "IPv6": "[fd77:fc::99]:80"}[f.name], syn),
			} {
				up(what, p, actUnspec, counted{})
			}
			up("for a site", tcpPacket(client, f.web, syn), actRedirect, steered)
			others := tcpPacket(client, f.web, syn).frame()
			others[5] = 9
			l.want(t, "in a frame for another machine", l.objs.FcUplink, others, l.uplink, actUnspec, counted{})
			// As answers of DHCP come, to a machine that has no address yet.
			all := udpPacket(client, port(lan, 68), "x").frame()
			copy(all, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			l.want(t, "in a frame for all machines", l.objs.FcUplink, all, l.uplink, actUnspec, counted{})
		})
	}
}
