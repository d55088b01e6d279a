package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fcnode/fcnode/tests/testutil"
)

// beatAgo is Beat of a daemon that has been silent since.
func (r *rig) beatAgo(t testing.TB, ago, silence time.Duration) {
	t.Helper()
	if err := r.objs.FcLastPulse.Put(uint32(0), dpFcPulse{Ns: Now() - uint64(ago), Limit: uint64(silence)}); err != nil {
		t.Fatal(err)
	}
}

// While no daemon would see it, the first packet of a flow that would have to wake
// a site is refused: at one that is parked, and at a replica that sleeps. Flows of
// replicas that are awake, connections that there are, and a daemon that is only a
// little late are not touched; and nothing is refused that a later beat has seen.
func TestRootUnattended(t *testing.T) {
	testutil.Privileged(t)
	alone := counted{"sink": 1, "unattended": 1}
	for _, f := range families {
		for name, first := range map[string]packet{
			"SYN": tcpPacket(f.client, f.web, syn), "datagram": udpPacket(f.client, f.dns, "query"),
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 1, vip4, vip6)
				r.device(t, "no daemon has said anything", first, actOK, holds)
				for _, limit := range []time.Duration{10 * time.Second, time.Hour} {
					r.beatAgo(t, limit+time.Second, limit)
					r.device(t, "parked, silent", first, actRedirect, alone)
					r.device(t, "parked, silent, data", tcpPacket(f.client, f.web, ack, "x"), actRedirect, toSink)
				}
				r.beatAgo(t, time.Hour, 0)
				r.device(t, "no limit", other(first), actOK, holds)
				r.beatAgo(t, 5*time.Second, time.Minute)
				r.device(t, "a little late", other(other(first)), actOK, holds)
				r.beatAgo(t, -time.Second, time.Minute)
				r.device(t, "it was well a moment after the packet's time was read", other(other(other(other(first)))), actOK, holds)
				if err := r.Beat(time.Minute); err != nil {
					t.Fatal(err)
				}
				if err := r.ClearHold(1); err != nil {
					t.Fatal(err)
				}
				r.device(t, "back", other(other(other(first))), actOK, holds)

				at := r.replicaAt(t, 5)
				r.site(t, 1, Site{Replicas: replicas(5)})
				r.beatAgo(t, time.Minute, time.Second)
				r.device(t, "awake", first, actRedirect, steered)
				r.device(t, "a connection begins", tcpPacket(f.client, f.web, syn), actRedirect, steered)
				r.asleep(t, 5, true)
				r.device(t, "asleep", other(first), actRedirect, alone)
				r.want(t, "asleep, by the uplink", r.objs.FcUplink, other(first).frame(), at, actUnspec, counted{"unattended": 1})
				r.wantKnocks(t, "refused", 0)
				r.device(t, "a connection that there is", tcpPacket(f.client, f.web, ack, "data"), actRedirect, steered)
				r.wantKnocks(t, "data", 1)
				r.device(t, "knocked at, and not awake", other(first), actRedirect, alone)
				answer := tcpPacket(f.client, f.web, ack).reply(ack, "answer")
				r.want(t, "an answer", r.objs.FcReplicaOut, answer.frame(), at, actRedirect, counted{"replied_stack": 1})
				r.device(t, "it has answered", other(first), actRedirect, steered)
			})
		}
	}
}

// other is a packet like it of another flow.
func other(p packet) packet {
	p.src = netip.AddrPortFrom(p.src.Addr(), p.src.Port()+1)
	return p
}
