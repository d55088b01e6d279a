package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

func (r *rig) asleep(t testing.TB, id ReplicaID, on bool) {
	t.Helper()
	if err := r.SetAsleep(id, on); err != nil {
		t.Fatal(err)
	}
}

// knocks reads all events that wait, which may be nothing but knocks of 5.
func (r *rig) knocks(t testing.TB) (n int) {
	t.Helper()
	for {
		ev, any := r.nextEvent(t)
		if !any {
			return n
		}
		if ev.Kind != EventKnock || ev.Replica != 5 || ev.Site != 1 || ev.Time == 0 {
			t.Errorf("event %+v, want a knock at replica 5", ev)
		}
		n++
	}
}

func (r *rig) wantKnocks(t testing.TB, what string, want int) {
	t.Helper()
	if got := r.knocks(t); got != want {
		t.Errorf("%s: %d knocks, want %d", what, got, want)
	}
}

// Each kind of packet of a listener's flow knocks once at a replica that
// sleeps, goes on as always, and does not knock at one that is awake.
func TestRootKnockOnce(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		for name, p := range map[string]packet{
			"SYN": tcpPacket(f.client, f.web, syn), "datagram": udpPacket(f.client, f.dns, "query"),
			"data": tcpPacket(f.client, f.web, ack, "data"), "end": tcpPacket(f.client, f.web, fin|ack),
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				r := newRig(t)
				r.listen(t, 1, vip4, vip6)
				r.replica(t, 5, 1, 7, 7)
				r.site(t, 1, Site{Replicas: replicas(5)})
				uplink, _ := deviceOf(t)
				// the flow of data is known
				r.device(t, "the flow", tcpPacket(f.client, f.web, syn), actRedirect, steered)
				r.device(t, "awake", p, actRedirect, steered)
				r.wantKnocks(t, "awake", 0)
				for _, in := range []struct {
					name    string
					prog    *ebpf.Program
					ifindex int
				}{{"device", r.objs.FcDevice, 0}, {"uplink", r.objs.FcUplink, uplink}} {
					r.asleep(t, 5, true)
					if st, err := r.Stats(5); err != nil || !st.Asleep {
						t.Errorf("marked asleep, but the counters say %+v (%v)", st, err)
					}
					r.want(t, in.name, in.prog, p.frame(), in.ifindex, actRedirect, steered)
					r.wantKnocks(t, in.name+", asleep", 1)
					r.want(t, in.name, in.prog, p.frame(), in.ifindex, actRedirect, steered)
					r.wantKnocks(t, in.name+", knocked", 0)
					if st, err := r.Stats(5); err != nil || st.Asleep {
						t.Errorf("knocked, but the counters say %+v (%v)", st, err)
					}
					r.asleep(t, 5, true)
					r.asleep(t, 5, false)
					r.want(t, in.name, in.prog, p.frame(), in.ifindex, actRedirect, steered)
					r.wantKnocks(t, in.name+", awake again", 0)
				}
			})
		}
	}
}

// Connections stay with a replica while its site is parked, and knock too.
func TestRootDataOfAParkedSiteKnocks(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.device(t, "SYN", tcpPacket(client4, web4, syn), actRedirect, steered)
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	r.asleep(t, 5, true)
	r.device(t, "a new flow is held", tcpPacket("192.0.2.9:1", web4, syn), actOK, holds)
	r.wantKnocks(t, "a packet that is held", 0)
	r.device(t, "data", tcpPacket(client4, web4, ack, "data"), actRedirect, steered)
	r.wantKnocks(t, "data", 1)
}

// What a replica itself began, and what is no flow of a listener, is nobody who
// wants in.
func TestRootOwnFlowsAndPingsDoNotKnock(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	at := r.replicaAt(t, 5)
	r.site(t, 1, Site{Replicas: replicas(5)})
	uplink, _ := deviceOf(t)
	web := tcpPacket(client4, web4, syn)
	r.device(t, "a visitor", web, actRedirect, steered)
	for what, own := range map[string]packet{
		"connection": tcpPacket("10.77.0.2:50000", client4, syn), "datagram": udpPacket("10.77.0.2:50001", client4, "query"),
	} {
		r.want(t, "the replica's "+what, r.objs.FcReplicaOut, own.frame(), at, actRedirect, counted{"replied_stack": 1})
		r.asleep(t, 5, true)
		answer := own.reply(syn|ack, "answer")
		r.device(t, "its answer", answer, actRedirect, steered)
		r.want(t, "its answer", r.objs.FcUplink, answer.frame(), uplink, actRedirect, steered)
	}
	r.device(t, "an error about the visitor's flow", icmpError("198.51.100.1", web.reply(ack), 3), actRedirect, steered)
	r.device(t, "a ping", packet{src: web.src, dst: web.dst, proto: protoICMP, icmp: 8}, actRedirect, toSink)
	r.wantKnocks(t, "none of them", 0)
	r.device(t, "the visitor again", web, actRedirect, steered)
	r.wantKnocks(t, "the visitor", 1)
}

// A knock that no daemon reads waits for the next one.
func TestRootKnockOutlivesTheDaemon(t *testing.T) {
	testutil.Privileged(t)
	r := &rig{Datapath: openAt(t, Options{PinDir: pinDir(t)})}
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	r.asleep(t, 5, true)
	r.device(t, "SYN", tcpPacket(client4, web4, syn), actRedirect, steered)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	next := &rig{Datapath: openAt(t, r.opts)}
	var err error
	if next.events, err = next.Events(); err != nil {
		t.Fatal(err)
	}
	defer next.events.Close()
	next.wantKnocks(t, "the next daemon", 1)
}

// With other packets coming in all the time, each mark is answered by exactly
// one knock, at the latest by the first packet after SetAsleep has returned.
func TestRootEveryMarkIsAnsweredOnce(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			frame := tcpPacket(fmt.Sprintf("192.0.2.%d:7", i+10), web4, syn).frame()
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := runRaw(r.objs.FcDevice, frame, 0); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	const marks = 3000
	frame, knocks := tcpPacket(client4, web4, syn).frame(), 0
	for i := range marks {
		r.asleep(t, 5, true)
		run(t, r.objs.FcDevice, frame, 0)
		if i%100 == 0 {
			knocks += r.knocks(t)
		}
	}
	close(stop)
	wg.Wait()
	if knocks += r.knocks(t); knocks != marks {
		t.Errorf("%d marks were answered by %d knocks", marks, knocks)
	}
}

// With the ring full the mark stays, and a packet that comes when there is room
// again knocks.
func TestRootNoRoomForAKnock(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 7, 7)
	r.site(t, 1, Site{Replicas: replicas(5)})
	frame := tcpPacket(client4, web4, syn).frame()
	sent := 0
	for r.counters(t)["event_lost"] == 0 {
		r.asleep(t, 5, true)
		run(t, r.objs.FcDevice, frame, 0)
		sent++
	}
	if st, err := r.Stats(5); err != nil || !st.Asleep {
		t.Errorf("the knock was lost, and the mark with it: %+v (%v)", st, err)
	}
	r.wantKnocks(t, "a full ring", sent-1)
	run(t, r.objs.FcDevice, frame, 0)
	r.wantKnocks(t, "the next packet", 1)
}

func TestRootMarksOfAReplicaThatIsGone(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	_, watch := r.WatchEmpty(9, true)
	for what, err := range map[string]error{"asleep": r.SetAsleep(9, true), "wake": r.BeginWake(9), "watch": watch} {
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Errorf("%s: %v, want ErrKeyNotExist", what, err)
		}
	}
	if err := r.control(9, 0, "nothing"); err == nil {
		t.Error("an operation that does not exist was done")
	}
}

// Ports are forced for one replica of a site, not for the others.
func TestRootForcedPerReplica(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	r.replica(t, 5, 1, 0, 0)
	r.replica(t, 6, 1, 0, 0)
	r.site(t, 1, Site{Replicas: []SiteReplica{{ID: 5}, {ID: 6, Forced: 1}}})
	for port := range 50 {
		p := tcpPacket(fmt.Sprintf("192.0.2.1:%d", 1000+port), web4, syn)
		r.device(t, "new flow", p, actRedirect, steered)
		if id, _ := r.flowOf(t, p); id != 6 {
			t.Fatalf("a new flow went to %d, which neither listens nor is forced", id)
		}
	}
	r.device(t, "another port", tcpPacket(client4, tls4, syn), actOK, holds)
}

// Maps of another layout are left as they are.
func TestRootMapsOfAnotherLayout(t *testing.T) {
	testutil.Privileged(t)
	dir := pinDir(t)
	if err := os.MkdirAll(mapsDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	old, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: dpMapFcSites, Type: ebpf.Hash, KeySize: 4, ValueSize: 80, MaxEntries: 131072, Flags: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Pin(filepath.Join(mapsDir(dir), dpMapFcSites)); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(Options{PinDir: dir}); !errors.Is(err, ErrIncompatible) {
		if err == nil {
			d.Close()
		}
		t.Errorf("open with the maps of an older fcnode: %v, want ErrIncompatible", err)
	}
}
