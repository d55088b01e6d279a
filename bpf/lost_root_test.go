package bpf

import (
	"net/netip"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
)

// nsid is the number by which the namespace of the tests, and so of programs
// that they run, knows another.
func nsid(t testing.TB, ns *testutil.NS) int32 {
	t.Helper()
	id, err := netlink.GetNetNsIdByFd(ns.FD())
	if err == nil && id < 0 {
		if err = netlink.SetNetNsIdByFd(ns.FD(), -1); err == nil { // the kernel picks a free one for -1
			id, err = netlink.GetNetNsIdByFd(ns.FD())
		}
	}
	if err != nil || id < 0 {
		t.Fatalf("number of a network namespace: %d, %v", id, err)
	}
	return int32(id)
}

// A flow that the table has lost is found by the socket that has it: for the
// client's next packet, and for what a router has to say about the last answer.
func TestRootLostFlowIsFoundByItsSocket(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			w.listener(t, false)
			if err := w.AddReplica(6, Replica{Site: 1, Ifindex: 1006, NSID: int(nsid(t, w.client)), Cookie: 6, VIP4: vip4, VIP6: vip6}); err != nil {
				t.Fatal(err)
			}
			w.site(t, 1, Site{Replicas: replicas(6, 5)})
			from := w.dial(t, f.web).LocalAddr().String()
			data := tcpPacket(from, f.web, ack, "data")
			another := data.with(func(p *packet) { p.src = netip.AddrPortFrom(p.src.Addr(), p.src.Port()^1) })
			router, kind := "198.51.100.1", byte(3)
			if f.name == "IPv6" {
				router, kind = "2001:db8:9::1", 2
			}
			if err := w.objs.FcFlows.Delete(flowKey(data)); err != nil {
				t.Fatalf("the connection is in no table: %v", err)
			}
			found := counted{"steered": 1, "flow_found_by_socket": 1}
			w.device(t, "an error about it", icmpError(router, data.reply(ack, "answer"), kind), actRedirect, found)
			w.device(t, "an error about another", icmpError(router, another.reply(ack, "answer"), kind), actOK, counted{})
			w.device(t, "its next packet", data, actRedirect, counted{"steered": 1, "flow_found_by_socket": 1, "flow_evicted": 1})
			if id, _ := w.flowOf(t, data); id != 5 {
				t.Errorf("the flow goes to %d, want 5", id)
			}
			w.device(t, "a packet of another", another, actRedirect, toSink)
			w.device(t, "an error, with the flow known again", icmpError(router, data.reply(ack, "answer"), kind), actRedirect, steered)
		})
	}
}

// A lost flow of datagrams is anybody's: an error about it has an address only
// while there is one replica.
func TestRootErrorAboutALostDatagram(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	r.replica(t, 5, 1, 7, 7)
	r.replica(t, 6, 1, 7, 7)
	lost := icmpError("198.51.100.1", udpPacket(client4, dns4).reply(0, "answer"), 3)
	r.device(t, "parked", lost, actOK, counted{})
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "one replica", lost, actRedirect, steered)
	r.device(t, "a port that no site has", icmpError("198.51.100.1", udpPacket(client4, "10.77.0.2:54").reply(0), 3), actOK, counted{})
	r.site(t, 1, Site{Replicas: replicas(5, 6)})
	r.device(t, "two", lost, actOK, counted{})
}
