package bpf

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

func (r *rig) ignore(t testing.TB, site SiteID, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		if err := r.SetIgnored(IgnoredSource{site, netip.MustParsePrefix(p)}); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) wantIgnored(t testing.TB, what string, want IgnoredPackets) {
	t.Helper()
	got, err := r.IgnoredPacketsOf(1)
	all, allErr := r.IgnoredPackets()
	if err := errors.Join(err, allErr); err != nil || got != want || all[1] != want {
		t.Errorf("%s: counted %+v, in the list %+v (%v), want %+v", what, got, all, err, want)
	}
}

// ignoredSources are of the clients of each family, alone and beside others.
var ignoredSources = map[string]string{"IPv4": "192.0.2.0/24", "IPv6": "2001:db8::/64"}

// neighbours lie beside them.
var neighbours = map[string]string{"IPv4": "192.0.3.1:40000", "IPv6": "[2001:db8:0:1::1]:40000"}

// What a source on the node's or the site's list begins at a parked site is refused
// at once: neither held nor counted as a visit. Another site's list says nothing.
func TestRootIgnoredSourcesDoNotWake(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		for by, owner := range map[string]SiteID{"node": 0, "site": 1, "another site": 2} {
			t.Run(f.name+", by "+by, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 1, vip4, vip6)
				r.ignore(t, owner, ignoredSources[f.name])
				var ignored uint64
				for what, p := range map[string]packet{"SYN": tcpPacket(f.client, f.web, syn), "datagram": udpPacket(f.client, f.dns, "query")} {
					if owner == 2 {
						r.device(t, what, p, actOK, holds)
						continue
					}
					uplink, _ := deviceOf(t)
					r.want(t, what+" at an uplink", r.objs.FcUplink, p.frame(), uplink, actUnspec, nil)
					r.device(t, what, p, actRedirect, toSink)
					r.noHeld(t)
					ignored++
				}
				r.wantIgnored(t, "asleep", IgnoredPackets{Asleep: ignored})
				want := SiteLoad{Held: 2 - ignored}
				if got, err := r.SiteLoad(1); err != nil || got != want {
					t.Errorf("the site's visits: %+v (%v), want %+v", got, err, want)
				}
				r.device(t, "a neighbour", tcpPacket(neighbours[f.name], f.web, syn), actOK, holds)
			})
		}
	}
}

// An awake site serves ignored sources, by both ways in, and nothing counts: its
// idle time goes by, and no attempt and no flow is seen.
func TestRootIgnoredSourcesDoNotKeepAwake(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			r.ignore(t, 0, ignoredSources[f.name])
			r.replicaAt(t, 5)
			uplink, _ := deviceOf(t)
			r.site(t, 1, Site{Replicas: replicas(5)})
			seen := func() (uint64, Load) {
				t.Helper()
				st, err := r.Stats(5)
				loads, loadErr := r.Load([]ReplicaID{5})
				if err := errors.Join(err, loadErr); err != nil {
					t.Fatal(err)
				}
				return st.Last, loads[5]
			}
			first, query := tcpPacket(f.client, f.web, syn), udpPacket(f.client, f.dns, "query")
			for _, p := range []packet{first, tcpPacket(f.client, f.web, ack, "data"), query, first.with(func(p *packet) { p.seq++ })} {
				r.device(t, "fc0", p, actRedirect, steered)
				r.want(t, "uplink", r.objs.FcUplink, p.frame(), uplink, actRedirect, steered)
			}
			if last, l := seen(); last != 0 || l.Attempts != 0 || l.UDPFlows != 0 {
				t.Errorf("the last visit was at %d, %d attempts, %d flows of UDP, want none", last, l.Attempts, l.UDPFlows)
			}
			r.wantIgnored(t, "awake", IgnoredPackets{Awake: 6}) // what goes on in a connection is not counted
			r.device(t, "a neighbour", tcpPacket(neighbours[f.name], f.web, syn), actRedirect, steered)
			if last, l := seen(); last == 0 || l.Attempts != 1 {
				t.Errorf("then a visit: the last one at %d, %d attempts", last, l.Attempts)
			}
			r.site(t, 1, Site{Refuse: true})
			r.device(t, "while the site refuses", first, actRedirect, toSink)
			if got, err := r.SiteLoad(1); err != nil || got != (SiteLoad{}) {
				t.Errorf("refused visits: %+v (%v)", got, err)
			}
		})
	}
}

// A site that sleeps with its replica in its place is left asleep. What is sent in a
// connection that is open goes there without a knock; a new one is refused, and what
// comes after in it goes to whoever refused.
func TestRootIgnoredSourcesDoNotKnock(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			r.replicaAt(t, 5)
			uplink, _ := deviceOf(t)
			r.site(t, 1, Site{Replicas: replicas(5)})
			first, data := tcpPacket(f.client, f.web, syn), tcpPacket(f.client, f.web, ack, "data")
			query := udpPacket(f.client, f.dns, "query")
			r.device(t, "while awake", first, actRedirect, steered)
			r.device(t, "a datagram while awake", query, actRedirect, steered)
			r.ignore(t, 1, ignoredSources[f.name])
			r.asleep(t, 5, true)
			r.device(t, "data of an open connection", data, actRedirect, steered)
			r.want(t, "the same at an uplink", r.objs.FcUplink, data.frame(), uplink, actRedirect, steered)
			r.wantIgnored(t, "data", IgnoredPackets{Asleep: 2})
			first.seq++ // the port used again
			for what, p := range map[string]packet{"SYN": first, "datagram": query} {
				r.want(t, what+" at an uplink", r.objs.FcUplink, p.frame(), uplink, actUnspec, nil)
				r.device(t, what, p, actRedirect, toSink)
			}
			r.device(t, "what follows", data, actRedirect, toSink)
			r.wantIgnored(t, "then new ones", IgnoredPackets{Asleep: 4})
			r.wantKnocks(t, "ignored", 0)
			r.noHeld(t)
			r.device(t, "a neighbour", tcpPacket(neighbours[f.name], f.web, syn), actRedirect, steered)
			r.wantKnocks(t, "a neighbour", 1)
		})
	}
}

// A parked site's old replica, which only its open connections still reach.
func TestRootIgnoredDataOfAParkedSite(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "while awake", tcpPacket(client4, web4, syn), actRedirect, steered)
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	r.ignore(t, 0, "192.0.2.1/32")
	r.asleep(t, 5, true)
	r.device(t, "data", tcpPacket(client4, web4, ack, "data"), actRedirect, steered)
	r.wantKnocks(t, "ignored", 0)
}

// Connections of ignored sources are not among those that scaling and sleep go by.
func TestRootIgnoredConnectionsAreNotCounted(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			w.serve(t, false, func(c *net.TCPConn) {
				defer c.Close()
				buf := make([]byte, 16)
				for {
					n, err := c.Read(buf)
					if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
						return
					}
				}
			})
			ask := func() *net.TCPConn {
				t.Helper()
				c := w.dial(t, f.web)
				t.Cleanup(func() { c.Close() })
				if _, err := c.Write([]byte("ping")); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 16)); err != nil {
					t.Fatal(err)
				}
				return c
			}
			w.ignore(t, 1, "10.77.0.9/32", "fd77:fc::9/128")
			monitor := ask()
			if st, err := w.Stats(5); err != nil || st.ConnsNow != 0 || st.ConnsTotal != 0 || st.Last != 0 || st.Established != 0 {
				t.Errorf("a monitor's connection is counted: %+v (%v)", st, err)
			}
			if l := w.load(t); l.Requests != 0 || l.BytesIn != 0 || l.BytesOut != 0 {
				t.Errorf("a monitor's request is counted: %+v", l)
			}
			for _, p := range []string{"10.77.0.9/32", "fd77:fc::9/128"} {
				if err := w.DeleteIgnored(IgnoredSource{1, netip.MustParsePrefix(p)}); err != nil {
					t.Fatal(err)
				}
			}
			visitor := ask()
			if st, err := w.Stats(5); err != nil || st.ConnsNow != 1 || st.ConnsTotal != 1 || st.Last == 0 {
				t.Errorf("with a visitor: %+v (%v), want one connection", st, err)
			}
			monitor.Close()
			visitor.Close()
			w.quiet(t, 1)
		})
	}
}

// What is ignored outlives the daemon; what is there no more can be taken out again.
func TestRootIgnoredAreKeptAndListed(t *testing.T) {
	testutil.Privileged(t)
	dir := pinDir(t)
	d := openAt(t, Options{PinDir: dir})
	want := map[IgnoredSource]bool{}
	for i, text := range []string{"192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "2001:db8::1/128"} {
		s := IgnoredSource{SiteID(i / 2), netip.MustParsePrefix(text)}
		want[s] = true
		if err := d.SetIgnored(s); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[SiteID]bool{0: true, 7: false}
	for id, answer := range answers {
		if err := d.SetIgnoredAnswer(id, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openAt(t, Options{PinDir: dir})
	look := func() {
		t.Helper()
		got, err := d.Ignored()
		gotAnswers, answersErr := d.IgnoredAnswers()
		if err := errors.Join(err, answersErr); err != nil || !maps.Equal(got, want) || !maps.Equal(gotAnswers, answers) {
			t.Errorf("%v, answers %v (%v), want %v, %v", got, gotAnswers, err, want, answers)
		}
	}
	look()
	gone := IgnoredSource{0, netip.MustParsePrefix("192.0.2.0/24")}
	delete(want, gone)
	delete(answers, 7)
	for range 2 {
		if err := errors.Join(d.DeleteIgnored(gone), d.DeleteIgnoredAnswer(7), d.DeleteIgnoredPackets(7)); err != nil {
			t.Error(err)
		}
	}
	look()
}

// In the sink's namespace the listeners take what ignored sources begin at the VIPs,
// where that is what they get, and nothing else. Without them it is refused.
func TestRootIgnoredSourcesAreAnswered(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.listen(t, 2, netip.MustParseAddr("10.77.0.3"))
	ns := testutil.NetNS(t)
	ownAddresses(t, ns, "10.77.0.2/32", "10.77.0.3/32", "fd77:fc::2/128", "192.0.2.1/32", "192.0.3.1/32", "2001:db8::1/128", "2001:db8:0:1::1/128")
	accepted := make(chan string, 1)
	var listeners []*net.TCPListener
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		var l net.Listener
		var err error
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // no such socket can be put into the map
		ns.Do(t, func() { l, err = lc.Listen(t.Context(), "tcp", at) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		listeners = append(listeners, l.(*net.TCPListener))
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- c.LocalAddr().String()
				c.Close()
			}
		}()
	}
	link, err := r.AttachAnswer(ns.File(t), listeners...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	try := func(what, from, to string, answered bool) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout(10*time.Second))
		defer cancel()
		var c net.Conn
		var err error
		ns.Do(t, func() { c, err = d.DialContext(ctx, "tcp", to) })
		if err == nil {
			defer c.Close()
			if at := testutil.Receive(t, 10*time.Second, what, accepted); at != to {
				t.Errorf("%s: accepted at %s, want %s", what, at, to)
			}
		}
		if answered != (err == nil) || (err != nil && !errors.Is(err, unix.ECONNREFUSED)) {
			t.Errorf("%s: %v, answered is to be %v", what, err, answered)
		}
	}
	set := func(id SiteID, answer bool) {
		t.Helper()
		if err := r.SetIgnoredAnswer(id, answer); err != nil {
			t.Fatal(err)
		}
	}
	try("nothing is ignored", "192.0.2.1", web4, false)
	r.ignore(t, 0, "192.0.2.0/24", "2001:db8::/64")
	try("refused by default", "192.0.2.1", web4, false)
	set(0, true)
	try("IPv4", "192.0.2.1", web4, true)
	try("IPv6", "2001:db8::1", web6, true)
	try("another site", "192.0.2.1", "10.77.0.3:80", true)
	try("a visitor", "192.0.3.1", web4, false)
	try("a visitor of IPv6", "2001:db8:0:1::1", web6, false)
	try("a port that the site has not", "192.0.2.1", "10.77.0.2:81", false)
	set(1, false)
	try("the site refuses them", "192.0.2.1", web4, false)
	try("the other does not", "192.0.2.1", "10.77.0.3:80", true)
	set(1, true)
	set(0, false)
	try("the site alone has an answer", "192.0.2.1", web4, true)
	try("the other has not", "192.0.2.1", "10.77.0.3:80", false)
	r.site(t, 1, Site{Refuse: true})
	try("a site that failed", "192.0.2.1", web4, false)
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	try("parked again", "192.0.2.1", web4, true)
	if err := listeners[0].Close(); err != nil {
		t.Fatal(err)
	}
	try("the listener is gone", "192.0.2.1", web4, false)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	try("the program is gone", "2001:db8::1", web6, false)
}
