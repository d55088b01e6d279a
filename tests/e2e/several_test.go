package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/tests/testutil"
)

// TestRootSeveralReplicas: of a site with several replicas each packet reaches the right one, also those that do not name
// its port: errors about a flow, and the later fragments of a datagram; and also when the table of flows is lost. All of them
// have the same volume.
func TestRootSeveralReplicas(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	const flows = 40
	onEachWay(t, "", func(t *testing.T, n *node) {
		n.write("data/given", "by the node")
		for _, six := range []bool{false, true} {
			s := n.deploy(fmt.Sprintf("several-%v", six), "ports: [80/tcp, 53/udp]", "env: {GUEST: serve, LISTEN: 'tcp/:80 udp/:53'}",
				"scale: {min: 3, max: 3}", "volumes: [{source: "+n.path("data")+", target: /data}]")
			web, dns := s.addr4(80), s.addr4(53)
			if six {
				web, dns = s.addr6(80), s.addr6(53)
			}
			s.ready(3)
			var visitors []kept
			for range flows {
				visitors = append(visitors, n.outside.keep(web))
			}
			s.awaitConns(flows)
			for round := 1; round <= 2; round++ {
				for _, v := range visitors {
					n.outside.unreachable(web, v.conn.LocalAddr())
				}
				for _, r := range s.ready(3) {
					if r.Conns.Now < 3 {
						t.Errorf("replica %s has %d of %d connections", r.ID, r.Conns.Now, flows)
					}
					awaitErrors(t, r, six, uint64(round)*r.Conns.Now)
				}
				n.loseFlows()
				s.allAnswered(visitors) // and the table knows them again
			}
			leave(visitors)
			s.awaitConns(0) // they are all alike now
			s.allDatagrams(dns, flows)
			if _, err := n.outside.ask(http.MethodPost, web, "/file?path=/data/shared", strings.NewReader("text")); err != nil {
				t.Error(err)
			}
			for range flows {
				if a := n.outside.mustGet(web, "/file?path=/data/shared"); a.body != "text" {
					t.Errorf("a replica reads %q", a.body)
				}
			}
			leave(visitors)
		}
	})
}

// unreachable sends an error about a connection of the client's, as a router does that has lost the way to it.
func (c *client) unreachable(site netip.AddrPort, own net.Addr) {
	c.t.Helper()
	me, err := netip.ParseAddrPort(own.String())
	if err != nil {
		c.t.Fatal(err)
	}
	network, head := "ip4:icmp", []byte{3, 1, 0, 0, 0, 0, 0, 0}
	answer := make([]byte, 20, 48)
	answer[0], answer[8], answer[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(answer[2:], 40)
	copy(answer[12:], site.Addr().AsSlice())
	copy(answer[16:], me.Addr().AsSlice())
	if site.Addr().Is6() {
		network, head = "ip6:ipv6-icmp", []byte{1, 0, 0, 0, 0, 0, 0, 0}
		answer = make([]byte, 40, 60)
		answer[0], answer[5], answer[6], answer[7] = 0x60, 20, 6, 64
		copy(answer[8:], site.Addr().AsSlice())
		copy(answer[24:], me.Addr().AsSlice())
	}
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, site.Port())
	binary.BigEndian.PutUint16(tcp[2:], me.Port())
	tcp[12] = 5 << 4
	packet := append(append(head, answer...), tcp...)
	if site.Addr().Is4() { // over IPv6 the kernel does it
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
	conn, err := c.dial(c.t.Context(), network, site.Addr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(packet); err != nil {
		c.t.Fatal(err)
	}
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// awaitErrors waits until the kernel of a replica's namespace has got so many errors about flows.
func awaitErrors(t testing.TB, r api.Replica, six bool, want uint64) {
	t.Helper()
	name := "Icmp InDestUnreachs"
	if six {
		name = "Icmp6InDestUnreachs"
	}
	testutil.WaitFor(t, patience, "the errors to reach replica "+r.ID, func() error {
		if got := counted(t, r.PID, six, name); got != want {
			return fmt.Errorf("it has got %d, and has %d connections", got, want)
		}
		return nil
	})
}

// counted reads a counter of the network namespace of a process: of IPv4 its names stand in a line above the figures.
func counted(t testing.TB, pid int, six bool, name string) uint64 {
	t.Helper()
	file := fmt.Sprintf("/proc/%d/net/snmp", pid)
	if six {
		file += "6"
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		switch {
		case six && len(f) == 2:
			values[f[0]] = f[1]
		case !six && i%2 == 0 && i+1 < len(lines):
			for j, v := range strings.Fields(lines[i+1]) {
				values[strings.TrimSuffix(f[0], ":")+" "+f[j]] = v
			}
		}
	}
	got, err := strconv.ParseUint(values[name], 10, 64)
	if err != nil {
		t.Fatalf("%s has no %s: %v", file, name, err)
	}
	return got
}

// allDatagrams sends datagrams that come in fragments from many ports. Each is answered if all of its fragments have
// reached the same replica, and all replicas have their share.
func (s *site) allDatagrams(to netip.AddrPort, flows int) {
	s.n.t.Helper()
	text := strings.Repeat("0123456789", 500)
	for i := range flows {
		conn, err := s.n.outside.dial(s.n.ctx(), "udp", to.String())
		if err != nil {
			s.n.t.Fatal(err)
		}
		if got, err := askUDP(conn, text); err != nil || got != "echo "+text {
			s.n.t.Errorf("datagram %d of %d bytes to %s is answered with %d (%v)", i, len(text), to, len(got), err)
		}
		_ = conn.Close()
	}
	name := "Udp InDatagrams"
	if to.Addr().Is6() {
		name = "Udp6InDatagrams"
	}
	for _, r := range s.ready(3) {
		if got := counted(s.n.t, r.PID, to.Addr().Is6(), name); got == 0 || got == uint64(flows) {
			s.n.t.Errorf("replica %s has got %d of %d datagrams", r.ID, got, flows)
		}
	}
}
