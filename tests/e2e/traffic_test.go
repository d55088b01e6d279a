package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootLostFlowsAreFoundAgain: the table of flows is a cache; what it loses breaks no connection.
func TestRootLostFlowsAreFoundAgain(t *testing.T) {
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("busy")
		n.outside.greet(s.addr4(80))
		loads := []*load{startLoad(n.outside, s.addr4(80), s.addr6(80)), startLoad(n.local, s.addr4(80), s.addr6(80))}
		for range few(20) {
			for _, l := range loads {
				l.more(t, 10)
			}
			n.loseFlows()
		}
		for _, l := range loads {
			l.end(t)
		}
	})
}

// loseFlows empties the tables of flows.
func (n *node) loseFlows() {
	n.t.Helper()
	for _, name := range []string{"fc_flows", "fc_handshakes", "fc_datagrams", "fc_own_flows"} {
		n.emptyMap(name)
	}
}

// emptyMap empties a pinned map.
func (n *node) emptyMap(name string) {
	n.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(n.pins(), "maps", name), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer m.Close()
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	var keys [][]byte
	for it := m.Iterate(); it.Next(&key, &value); {
		keys = append(keys, bytes.Clone(key))
	}
	for _, k := range keys {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			n.t.Fatal(err)
		}
	}
}

// TestRootChangeOfAttachment: a daemon that attaches in another way takes over from one that did not, unnoticed.
func TestRootChangeOfAttachment(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "tcx")
	n := newNode(t, options{attach: "tcx"})
	s := n.deploy("busy")
	n.outside.greet(s.addr4(80))
	loads := []*load{startLoad(n.outside, s.addr4(80), s.addr6(80)), startLoad(n.local, s.addr4(80), s.addr6(80))}
	more := func() {
		for _, l := range loads {
			l.more(t, int64(few(100)))
		}
	}
	for _, attach := range []string{"clsact", "tcx"} {
		more()
		n.kill()
		n.configure(options{attach: attach})
		n.start()
		more()
		if info, err := n.api.Info(n.ctx()); err != nil || info.Attach != attach {
			t.Errorf("the node is attached by %s (%v), not by %s", info.Attach, err, attach)
		}
	}
	for _, l := range loads {
		l.end(t)
	}
	for _, c := range []*client{n.outside, n.local} {
		s.park()
		c.greet(s.addr4(80))
		c.refused(n, s.addr4(81))
	}
}

// TestRootLargeBodies: 20 MB each way, for everyone.
func TestRootLargeBodies(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	s := n.deploy("large")
	for _, c := range []*client{n.outside, n.local} {
		for _, to := range []netip.AddrPort{s.addr4(80), s.addr6(80)} {
			c.transfer(to, int64(few(20))<<20)
		}
	}
}

// TestRootLargeDatagrams: what comes in fragments finds its site too.
func TestRootLargeDatagrams(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "", func(t *testing.T, n *node) {
		s := n.deploy("large", "ports: [53/udp]", "env: {GUEST: serve, LISTEN: 'udp/:53'}")
		s.wake()
		text := strings.Repeat("0123456789", 500)
		for _, c := range []*client{n.outside, n.local} {
			for _, to := range []netip.AddrPort{s.addr4(53), s.addr6(53)} {
				conn, err := c.dial(t.Context(), "udp", to.String())
				if err != nil {
					t.Fatal(err)
				}
				if got, err := askUDP(conn, text); err != nil || got != "echo "+text {
					t.Errorf("%s client: %s answers a datagram of %d bytes with %d (%v)", c.name, to, len(text), len(got), err)
				}
				_ = conn.Close()
			}
		}
	})
}

// TestRootManySitesAtOnce: more wakes at once than are prepared for.
func TestRootManySitesAtOnce(t *testing.T) {
	testutil.Privileged(t)
	n := newNode(t, options{more: "pool: 2\nrunners: 1"})
	const count = 16
	var text []string
	for i := range count {
		text = append(text, n.spec(fmt.Sprintf("one-of-many-%d", i)))
	}
	if _, err := n.api.Apply(n.ctx(), n.parse(text...), false); err != nil {
		t.Fatal(err)
	}
	sites := make([]*site, count)
	for i := range sites {
		sites[i] = n.find(fmt.Sprintf("one-of-many-%d", i))
	}
	err := visit(2*count, func(i int) error {
		s := sites[i%count]
		c, to := n.outside, s.addr4(80)
		if i >= count {
			c, to = n.local, s.addr6(80)
		}
		a, err := c.get(to, "/")
		if err != nil || !strings.HasSuffix(a.body, " by "+s.name+"\n") {
			return fmt.Errorf("%s client, %s: %q %w", c.name, s.name, a.body, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	n.kill()
	n.start() // and they are all taken over
	for _, s := range sites {
		if got := s.starts(0); got != 1 {
			t.Errorf("%s: %d starts: %q", s.name, got, s.story(0))
		}
		n.local.greet(s.addr4(80))
	}
}

// TestRootSitesVisitOthers: a site reaches sites that sleep, itself, and the world outside, under its own address where that is routed.
func TestRootSitesVisitOthers(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	onEachWay(t, "egress: routed", func(t *testing.T, n *node) {
		s, other := n.deploy("visitor", "network: {allow: [site:other]}"), n.deploy("other")
		world := n.outside.serve(t)
		for _, from := range []netip.Addr{s.v4, s.v6} {
			to, out := other.addr4(80), "198.51.100.2"
			if from.Is6() {
				to, out = other.addr6(80), "[2001:db8:77::2]"
			}
			for what, c := range map[string]struct{ url, want string }{
				"another site": {"http://" + to.String() + "/", fmt.Sprintf(" to %s by other", to)},
				"itself":       {"http://" + netip.AddrPortFrom(from, 80).String() + "/", " by visitor"},
				"the outside":  {"http://" + out + world, "of " + from.String()},
			} {
				other.park()
				a, err := n.outside.get(s.addr4(80), "/fetch?url="+url.QueryEscape(c.url))
				if err != nil || !strings.Contains(a.body, c.want) {
					t.Errorf("the site asks %s (%s) and gets %q (%v), want %q", what, c.url, a.body, err, c.want)
				}
			}
		}
	})
}

// serve runs a server in the client's namespace that says who asked, and returns what follows its host in URLs.
func (c *client) serve(t *testing.T) string {
	t.Helper()
	var l net.Listener
	c.ns.Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", ":8080"); err != nil {
			t.Fatal(err)
		}
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // always both
		fmt.Fprintf(w, "question of %s\n", host)
	})}
	served := later(func() error { return srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ":8080/"
}

// TestRootVolumesStay: what a site writes to a volume is there for its next replica, everything else is not.
func TestRootVolumesStay(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	n.write("data/given", "by the node")
	n.write("fixed/given", "for reading")
	s := n.deploy("writer", "volumes: [{source: "+n.path("data")+", target: /data}, {source: "+n.path("fixed")+", target: /fixed, readOnly: true}]")
	put := func(path, text string) error {
		_, err := n.outside.ask(http.MethodPost, s.addr4(80), "/file?path="+path, strings.NewReader(text))
		return err
	}
	for _, path := range []string{"/data/kept", "/lost"} {
		if err := put(path, "text"); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("/fixed/given", "text"); err == nil {
		t.Error("a volume that is read-only was written")
	}
	s.park()
	for path, want := range map[string]string{"/data/given": "by the node", "/data/kept": "text", "/fixed/given": "for reading"} {
		if a := n.outside.mustGet(s.addr4(80), "/file?path="+path); a.body != want {
			t.Errorf("%s holds %q, not %q", path, a.body, want)
		}
	}
	if a, err := n.outside.get(s.addr4(80), "/file?path=/lost"); err == nil {
		t.Errorf("what was written outside of a volume is still there: %q", a.body)
	}
}

// TestRootOneFamilyNode: a node with a prefix of one family only.
func TestRootOneFamilyNode(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	for _, prefix := range []string{prefix4, `"` + prefix6 + `"`} {
		n := newNode(t, options{prefixes: prefix})
		s := n.deploy("single")
		for _, a := range []netip.Addr{s.v4, s.v6} {
			if !a.IsValid() {
				continue
			}
			n.outside.greet(netip.AddrPortFrom(a, 80))
			s.park()
			n.local.greet(netip.AddrPortFrom(a, 80))
			n.outside.refused(n, netip.AddrPortFrom(a, 81))
		}
		if s.v4.IsValid() == s.v6.IsValid() {
			t.Errorf("with the prefix %s the site has the addresses %v and %v", prefix, s.v4, s.v6)
		}
	}
}
