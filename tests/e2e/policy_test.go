package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// tries lets the site open a connection, and says what came of it.
func (s *site) tries(to string) (reached bool, said string) {
	a, err := s.n.outside.get(s.addr4(80), "/dial?to="+url.QueryEscape(to))
	if err != nil {
		s.n.t.Error(err)
	}
	return a.body == "reached\n", a.body
}

// TestRootNetworkPolicy: what a site reaches by default, by its spec and after a change; and what is told.
func TestRootNetworkPolicy(t *testing.T) {
	testutil.Privileged(t)
	n := newMachine(t, options{})
	for _, at := range []string{"198.51.100.1:8081", "127.0.0.1:8081", "[2001:db8:77::1]:8081"} {
		n.listen(at)
	}
	// another network of the node's, with a database
	for addr, ns := range map[string]*testutil.NS{"192.168.7.1/24": n.ns, "192.168.7.2/24": n.outside.ns} {
		link, err := ns.Netlink().LinkByName(uplink)
		parsed, _ := netlink.ParseAddr(addr)
		if err = errors.Join(err, ns.Netlink().AddrAdd(link, parsed)); err != nil {
			t.Fatal(err)
		}
	}
	n.machine = n.look()
	n.start()
	n.outside.serve(t) // everywhere, on 8080
	s, other := n.deploy("tenant"), n.deploy("other")
	lan, node, world := "192.168.7.2:8080", "198.51.100.1:8081", "198.51.100.2:8080"
	want := func(when string, reaches ...string) {
		t.Helper()
		var all sync.WaitGroup
		defer all.Wait()
		for _, to := range []string{lan, node, world, "[2001:db8:77::2]:8080", "[2001:db8:77::1]:8081", "127.0.0.1:8081", other.addr4(80).String(), other.addr6(80).String()} {
			wanted := false
			for _, r := range reaches {
				wanted = wanted || r == to
			}
			all.Go(func() {
				if got, said := s.tries(to); got != wanted {
					t.Errorf("%s: %s is reached: %v, want %v: %s", when, to, got, wanted, said)
				}
			})
		}
	}
	outside := []string{world, "[2001:db8:77::2]:8080"}
	mark := n.mark()
	want("by default", outside...)
	told := map[string]string{}
	for len(told) < 5 { // 127.0.0.1 is the site's own
		ev := s.await(mark, "refused")
		mark = ev.Seq
		told[strings.Fields(ev.Reason)[0]] = ev.Text
	}
	for to, allow := range map[string]string{
		lan: "192.168.7.2:8080/tcp", node: "host:8081/tcp", "[2001:db8:77::1]:8081": "host:8081/tcp",
		other.addr4(80).String(): "site:other:80/tcp", other.addr6(80).String(): "site:other:80/tcp",
	} {
		if text, line := told[to+"/tcp:"], fmt.Sprintf("network: {allow: [%q]}", allow); !strings.Contains(text, line) {
			t.Errorf("of %s is told %q, want %s", to, text, line)
		}
	}
	mark = n.mark()
	s.tries(lan)
	if got := s.story(mark); len(got) > 0 {
		t.Errorf("told again: %q", got)
	}
	if other.get().Phase != api.PhaseParked {
		t.Error("a site has woken another that it may not talk to")
	}
	again := func(network string) {
		t.Helper()
		text := n.spec("tenant", network)
		if _, err := n.api.Apply(n.ctx(), n.parse(text), false); err != nil {
			t.Fatal(err)
		}
	}
	other.wake()
	again("network: {allow: [192.168.7.2:8080/tcp, site:other, host:8081], deny: [198.51.100.2]}")
	want("by its spec", lan, node, "[2001:db8:77::1]:8081", "[2001:db8:77::2]:8080", other.addr4(80).String(), other.addr6(80).String())
	n.kill()
	want("without a daemon", lan, node, "[2001:db8:77::1]:8081", "[2001:db8:77::2]:8080", other.addr4(80).String(), other.addr6(80).String())
	n.start()
	if err := n.api.Delete(n.ctx(), "other"); err != nil {
		t.Fatal(err)
	}
	other = n.deploy("newcomer") // at the address of the one that is gone
	want("after another took the site's address", lan, node, "[2001:db8:77::1]:8081", "[2001:db8:77::2]:8080")
	again("")
	want("by default again", outside...)
	out := n.cliFails("apply", "-f", n.write("overlap.yaml", n.spec("overlap", "network:", "  allow: [10.0.0.0/8]", "  deny: [10.1.0.5]")))
	if !strings.Contains(out, "overlap.yaml:") || !strings.Contains(out, "network.deny[0]: 10.1.0.5 overlaps with 10.0.0.0/8") {
		t.Errorf("lists that overlap are explained with %q", out)
	}
}

// TestRootSiteThatScans: a site may begin so many connections a second in the Internet; its visitors, and the database that its
// rules name, notice nothing of it.
func TestRootSiteThatScans(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	for addr, ns := range map[string]*testutil.NS{"192.168.7.1/24": n.ns, "192.168.7.2/24": n.outside.ns} {
		link, err := ns.Netlink().LinkByName(uplink)
		parsed, _ := netlink.ParseAddr(addr)
		if err = errors.Join(err, ns.Netlink().AddrAdd(link, parsed)); err != nil {
			t.Fatal(err)
		}
	}
	n.machine = n.look()
	n.start()
	n.outside.serve(t) // everywhere, on 8080
	s, quiet := n.deploy("scanner", "network: {allow: [192.168.7.2:8080/tcp], rate: {connections: 1}}"), n.deploy("quiet")
	mark := n.mark()
	var scan sync.WaitGroup
	defer scan.Wait()
	for range 30 { // ten at once, and then each waits for its second
		scan.Go(func() { s.tries("198.51.100.2:8080") })
	}
	ev := s.await(mark, "limited")
	if !strings.Contains(ev.Reason, "network.rate.connections") || fmt.Sprint(ev.Fields["to"]) != "198.51.100.2" {
		t.Errorf("told %+v", ev)
	}
	for range 20 {
		if got, said := s.tries("192.168.7.2:8080"); !got {
			t.Fatalf("the database that a rule names is not reached: %s", said)
		}
	}
	if got, said := quiet.tries("198.51.100.2:8080"); !got {
		t.Errorf("another site pays for it: %s", said)
	}
	if n.packets("egress_connections") == 0 {
		t.Error("nothing was dropped")
	}
}
