package bpf

import (
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
)

// deviceOf makes a veth pair in the sandbox and returns the ends' numbers: the
// kernel wants those of devices that exist.
func deviceOf(t testing.TB) (a, b int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = testutil.Unique(t)
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: attrs.Name + "p"}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(attrs.Name); err == nil {
			if err := netlink.LinkDel(l); err != nil {
				t.Error(err)
			}
		}
	})
	for _, end := range []struct {
		name  string
		index *int
	}{{attrs.Name, &a}, {attrs.Name + "p", &b}} {
		l, err := netlink.LinkByName(end.name)
		if err == nil { // or what is run there is taken for others' frames
			err = netlink.LinkSetHardwareAddr(l, frameMAC)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
		*end.index = l.Attrs().Index
	}
	return a, b
}

// replicaAt is a ready replica of site 1 behind a host end that exists.
func (r *rig) replicaAt(t testing.TB, id ReplicaID) (ifindex int) {
	t.Helper()
	ifindex, _ = deviceOf(t)
	err := r.AddReplica(id, Replica{Site: 1, Ifindex: ifindex, NSID: -1, Cookie: uint64(id), VIP4: vip4, VIP6: vip6})
	if err != nil {
		t.Fatal(err)
	}
	r.change(t, id, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
	return ifindex
}

func TestRootAnswersOfAReplica(t *testing.T) {
	testutil.Privileged(t)
	toStack := counted{"replied_stack": 1}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			at := r.replicaAt(t, 5)
			r.site(t, 1, Site{Replicas: replicas(5)})
			in := tcpPacket(f.client, f.web, syn)
			r.device(t, "request", in, actRedirect, steered)
			out := r.objs.FcReplicaOut
			r.want(t, "SYN-ACK", out, in.reply(syn|ack).frame(), at, actRedirect, toStack)
			if ev, any := r.nextEvent(t); any {
				t.Errorf("a SYN-ACK is no answer: %+v", ev)
			}
			r.want(t, "answer", out, in.reply(ack, "200").frame(), at, actRedirect, toStack)
			ev, ok := r.nextEvent(t)
			if !ok || ev.Kind != EventFirstByte || ev.Replica != 5 || ev.Site != 1 || ev.Ready4 != 7 || ev.Ready6 != 7 {
				t.Errorf("event %+v, want the first byte of 5", ev)
			}
			if st, err := r.Stats(5); err != nil || st.FirstByte != ev.Time || ev.Time == 0 {
				t.Errorf("first byte at %d (%v), the event says %d", st.FirstByte, err, ev.Time)
			}
			r.want(t, "next answer", out, in.reply(ack, "more").frame(), at, actRedirect, toStack)
			if ev, any := r.nextEvent(t); any {
				t.Errorf("said twice: %+v", ev)
			}
			spoofed := in.reply(ack)
			spoofed.src = tcpPacket(map[string]string{"IPv4": "10.77.0.3:80", "IPv6": "[fd77:fc::3]:80"}[f.name], f.client, ack).src
			r.want(t, "another's address", out, spoofed.frame(), at, actShot, counted{"spoofed": 1})
		})
	}
}

func TestRootWhoIsNoReplicaSendsNothing(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	at := r.replicaAt(t, 5)
	other, _ := deviceOf(t)
	answer := tcpPacket(web4, client4, ack, "data")
	r.want(t, "a device that is no replica's", r.objs.FcReplicaOut, answer.frame(), other, actShot, counted{})
	if err := r.RemoveReplica(5, Replica{Ifindex: at, Cookie: 5}); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a replica that is gone", r.objs.FcReplicaOut, answer.frame(), at, actShot, counted{})
	r.want(t, "the sink", r.objs.FcSinkOut, answer.frame(), other, actRedirect, counted{"replied_stack": 1})
}

// Fragments and protocols without ports leave by the stack.
func TestRootOtherAnswers(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	at := r.replicaAt(t, 5)
	for what, p := range map[string]packet{
		"fragment":   udpPacket(dns4, client4, "answer").with(func(p *packet) { p.fragID, p.frag = 1, 0x2000 }),
		"echo reply": {src: tcpPacket(web4, client4, 0).src, dst: tcpPacket(client4, web4, 0).src, proto: protoICMP},
	} {
		r.want(t, what, r.objs.FcReplicaOut, p.frame(), at, actRedirect, counted{"replied_stack": 1})
	}
}

func TestRootUplink(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			at := r.replicaAt(t, 5)
			uplink, _ := deviceOf(t)
			first, data := tcpPacket(f.client, f.web, syn), tcpPacket(f.client, f.web, ack, "data")
			in := func(what string, p packet, ret uint32, counts counted) {
				t.Helper()
				r.want(t, what, r.objs.FcUplink, p.frame(), uplink, ret, counts)
			}
			in("parked", first, actUnspec, counted{})
			in("unknown", tcpPacket(f.client, f.dns, syn), actUnspec, counted{})
			in("data that nobody knows", data, actUnspec, counted{})
			r.site(t, 1, Site{Refuse: true})
			in("refused", first, actUnspec, counted{})
			r.site(t, 1, Site{Replicas: replicas(5)})
			r.change(t, 5, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 0, 0 })
			in("not listening yet", first, actUnspec, counted{})
			r.change(t, 5, func(v *dpFcReplica) { v.Ready4, v.Ready6 = 7, 7 })
			in("ready", first, actRedirect, steered)
			in("data", data, actRedirect, steered)
			if id, up := r.flowOf(t, data); id != 5 || up != uplink {
				t.Errorf("the flow is remembered as replica %d, uplink %d, want 5, %d", id, up, uplink)
			}
			r.want(t, "the answer leaves by the uplink", r.objs.FcReplicaOut, first.reply(syn|ack).frame(), at, actRedirect, counted{"replied_uplink": 1})
			r.noHeld(t)
		})
	}
}

// A flow that began by fc0 (its first packet was held) goes over to the uplink
// with its next packet.
func TestRootFlowMovesToTheUplink(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	at := r.replicaAt(t, 5)
	uplink, _ := deviceOf(t)
	r.site(t, 1, Site{Replicas: replicas(5)})
	first := tcpPacket(client4, web4, syn)
	r.device(t, "released", first, actRedirect, steered)
	r.want(t, "SYN-ACK", r.objs.FcReplicaOut, first.reply(syn|ack).frame(), at, actRedirect, counted{"replied_stack": 1})
	r.want(t, "ACK", r.objs.FcUplink, tcpPacket(client4, web4, ack).frame(), uplink, actRedirect, steered)
	r.want(t, "answer", r.objs.FcReplicaOut, first.reply(ack, "200").frame(), at, actRedirect, counted{"replied_uplink": 1})
}
