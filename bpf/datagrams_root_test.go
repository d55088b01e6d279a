package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/fcnode/fcnode/tests/testutil"
)

// age makes all flows of UDP older: what would pass in so many seconds.
func (r *rig) age(t testing.TB, seconds uint32) {
	t.Helper()
	cells := map[dpFcCellKey]dpFcCell{}
	var at dpFcCellKey
	var c dpFcCell
	it := r.objs.FcDatagrams.Iterate()
	for it.Next(&at, &c) {
		cells[at] = c
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	for at, c := range cells {
		c.Seen -= seconds
		const flags = 3 << 30
		if answered := c.Flow.Syn &^ flags; answered != 0 { // it goes round where this machine has not run for so long
			c.Flow.Syn = c.Flow.Syn&flags | (answered-seconds)&^flags
		}
		if err := r.objs.FcDatagrams.Update(at, c, ebpf.UpdateExist); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) wantFlows(t testing.TB, what string, id ReplicaID, live, lasting int) (left time.Duration) {
	t.Helper()
	got, err := r.Flows(id)
	if err != nil || got.Live != live || got.Lasting != lasting || (got.Left > 0) != (live > 0) {
		t.Errorf("%s: flows of replica %d: %+v (%v), want %d, %d of them lasting", what, id, got, err, live, lasting)
	}
	return got.Left
}

// TestRootFlowsOfUDPEnd: a question and its answer are over soon, what goes on after that lasts for the replica's time, from whichever side
// the last datagram was, and by either way in.
func TestRootFlowsOfUDPEnd(t *testing.T) {
	testutil.Privileged(t)
	const idle = 120
	for _, f := range families {
		for _, way := range []string{"fc0", "uplink"} {
			t.Run(f.name+" "+way, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 1, vip4, vip6)
				at := r.replicaAt(t, 5)
				r.change(t, 5, func(v *dpFcReplica) { v.UdpIdle = idle })
				r.site(t, 1, Site{Replicas: replicas(5)})
				query := udpPacket(f.client, f.dns, "query")
				asks := func() {
					t.Helper()
					prog, in := r.objs.FcDevice, 0
					if way == "uplink" {
						prog = r.objs.FcUplink
						in, _ = deviceOf(t)
					}
					r.want(t, "query", prog, query.frame(), in, actRedirect, steered)
				}
				answers := func() {
					t.Helper()
					if ret := run(t, r.objs.FcReplicaOut, query.reply(0, "answer").frame(), at); ret != actRedirect {
						t.Errorf("answer: returned %d", int32(ret))
					}
				}
				flows := func() uint64 {
					t.Helper()
					l, err := r.Load([]ReplicaID{5})
					if err != nil {
						t.Fatal(err)
					}
					return l[5].UDPFlows
				}
				r.wantFlows(t, "nobody", 5, 0, 0)
				asks()
				r.wantFlows(t, "asked", 5, 1, 0)
				answers()
				asks()
				answers()
				if left := r.wantFlows(t, "two questions", 5, 1, 0); left > 11*time.Second {
					t.Errorf("two questions are over in %v", left)
				}
				r.age(t, 11)
				r.wantFlows(t, "two questions, over", 5, 0, 0)
				asks() // no more than a pause: it is the same flow
				left := r.wantFlows(t, "goes on", 5, 1, 1)
				if left < idle*time.Second || left > (idle+3)*time.Second {
					t.Errorf("what lasts is over in %v, want %d s", left, idle)
				}
				r.age(t, ^uint32(0)) // another processor has used it in the second that begins
				asks()
				r.wantFlows(t, "at the turn of a second", 5, 1, 1)
				r.age(t, idle-20)
				r.wantFlows(t, "silence", 5, 1, 1)
				answers()
				if again := r.wantFlows(t, "its replica speaks", 5, 1, 1); again < left-2*time.Second {
					t.Errorf("over in %v after the replica's datagram, %v after the client's", again, left)
				}
				if n := flows(); n != 1 {
					t.Errorf("%d flows were counted of one", n)
				}
				r.age(t, idle+3)
				r.wantFlows(t, "silence for its time", 5, 0, 0)
				answers()
				r.wantFlows(t, "the replica speaks to nobody", 5, 1, 0)
				r.age(t, idle+3)
				asks()
				r.wantFlows(t, "it begins again", 5, 1, 0)
				if n := flows(); n != 2 {
					t.Errorf("%d flows were counted of two", n)
				}
			})
		}
	}
}

// TestRootFlowsOfUDPOff: without a time no flow counts, and one that was known stays one.
func TestRootFlowsOfUDPOff(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4, vip6)
	at := r.replicaAt(t, 5)
	r.site(t, 1, Site{Replicas: replicas(5)})
	query := udpPacket(client4, dns4, "query")
	for range 3 {
		r.device(t, "query", query, actRedirect, steered)
		run(t, r.objs.FcReplicaOut, query.reply(0, "answer").frame(), at)
		r.age(t, 3)
	}
	r.wantFlows(t, "off", 5, 0, 0)
	if l, err := r.Load([]ReplicaID{5}); err != nil || l[5].UDPFlows != 1 {
		t.Errorf("%d flows were counted of one (%v)", l[5].UDPFlows, err)
	}
}

// TestRootDrainingKeepsLiveFlowsOfUDP: a replica that drains keeps those that live, and gets none that was over, nor a new one.
func TestRootDrainingKeepsLiveFlowsOfUDP(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			for id := range ReplicaID(2) {
				r.replica(t, 5+id, 1, 7, 7)
				r.change(t, 5+id, func(v *dpFcReplica) { v.UdpIdle = 60 })
			}
			r.site(t, 1, Site{Replicas: replicas(5)})
			old := udpPacket(f.client, f.dns, "old")
			r.device(t, "before", old, actRedirect, steered)
			r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5, Draining: true}, {ID: 6}}})
			to := func(what string, p packet, want ReplicaID) {
				t.Helper()
				r.device(t, what, p, actRedirect, steered)
				if got, _ := r.flowOf(t, p); got != want {
					t.Errorf("%s went to replica %d, want %d", what, got, want)
				}
			}
			to("the old flow", old, 5)
			fresh := udpPacket(netip.AddrPortFrom(old.src.Addr(), 40001).String(), f.dns, "new")
			to("a new flow", fresh, 6)
			r.age(t, 20)
			to("the old flow after a pause", old, 5)
			r.wantFlows(t, "draining", 5, 1, 0)
			r.age(t, 70)
			to("the old flow after its end", old, 6)
			r.wantFlows(t, "drained", 5, 0, 0)
		})
	}
}

// TestRootIgnoredFlowsOfUDP: a source that is no visitor has no flow that keeps anything, whatever it sends.
func TestRootIgnoredFlowsOfUDP(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			at := r.replicaAt(t, 5)
			r.change(t, 5, func(v *dpFcReplica) { v.UdpIdle = 60 })
			r.site(t, 1, Site{Replicas: replicas(5)})
			r.ignore(t, 1, ignoredSources[f.name])
			uplink, _ := deviceOf(t)
			query := udpPacket(f.client, f.dns, "query")
			for range 3 {
				r.device(t, "query", query, actRedirect, steered)
				r.want(t, "query at an uplink", r.objs.FcUplink, query.frame(), uplink, actRedirect, steered)
				run(t, r.objs.FcReplicaOut, query.reply(0, "answer").frame(), at)
				r.age(t, 3)
				if got, err := r.Flows(5); err != nil || got != (Flows{}) {
					t.Errorf("flows of a source that is ignored: %+v (%v)", got, err)
				}
			}
		})
	}
}
