package bpf

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/fcnode/fcnode/tests/testutil"
)

// client is what one side counts for itself.
type clientCount struct {
	conns, failed, bytesIn, bytesOut, requests uint64
	inner, outer                               []time.Duration // around the answers' latencies
}

func (c *clientCount) add(o clientCount) {
	c.conns += o.conns
	c.failed += o.failed
	c.bytesIn += o.bytesIn
	c.bytesOut += o.bytesOut
	c.requests += o.requests
	c.inner, c.outer = append(c.inner, o.inner...), append(c.outer, o.outer...)
}

// slowServer answers requests of one line ("POST body answer micros") and a
// body. It notes the time between the request's first line and the answer's
// first byte.
type slowServer struct {
	mu    sync.Mutex
	inner []time.Duration
}

func (s *slowServer) serve(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 1<<16)
	zeros := make([]byte, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		began := time.Now()
		var body, answer, micros int
		if _, err := fmt.Sscanf(line, "POST %d %d %d", &body, &answer, &micros); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, in, int64(body)); err != nil {
			return
		}
		work := time.NewTimer(time.Duration(micros) * time.Microsecond)
		<-work.C
		took := time.Since(began)
		if _, err := c.Write(zeros[:answer]); err != nil {
			return
		}
		s.mu.Lock()
		s.inner = append(s.inner, took)
		s.mu.Unlock()
	}
}

// talk has one connection with some requests, and ends it in order or by a
// reset.
func talk(c *net.TCPConn, requests int, reset bool) (n clientCount, err error) {
	defer c.Close()
	n.conns = 1
	for range requests {
		body, answer := rand.IntN(100), 1+rand.IntN(2000)
		if rand.IntN(8) == 0 { // several packets, offloaded or not
			body, answer = rand.IntN(200_000), 1+rand.IntN(400_000)
		}
		req := fmt.Appendf(nil, "POST %d %d %d\n", body, answer, 1+rand.IntN(20_000))
		req = append(req, bytes.Repeat([]byte{'x'}, body)...)
		began := time.Now()
		if _, err := c.Write(req); err != nil {
			return n, err
		}
		buf := make([]byte, 1)
		if _, err := io.ReadFull(c, buf); err != nil {
			return n, err
		}
		n.outer = append(n.outer, time.Since(began))
		if _, err := io.CopyN(io.Discard, c, int64(answer-1)); err != nil {
			return n, err
		}
		n.requests++
		n.bytesIn += uint64(len(req))
		n.bytesOut += uint64(answer)
	}
	if reset {
		n.failed = 1
		return n, c.SetLinger(0)
	}
	return n, nil
}

// What is counted is what clients count: to the last connection and byte, and
// the quantiles of the latency lie between those that the server and those that
// the clients have seen, give or take the histogram's own error.
func TestRootCountedExactlyUnderLoad(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			var s slowServer
			w.serve(t, false, s.serve)
			const workers, conns = 16, 12
			var mu sync.Mutex
			var all clientCount
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for i := range conns {
						n, err := talk(w.dial(t, f.web), 1+rand.IntN(8), i%4 == 0)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						all.add(n)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			l := w.quiet(t, all.conns)
			type sums struct{ total, failed, in, out, requests, answers, noTurns uint64 }
			got := sums{l.ConnsTotal, l.Failed, l.BytesIn, l.BytesOut, l.Requests, l.Latency.Count(), l.NoTurns}
			want := sums{all.conns, all.failed, all.bytesIn, all.bytesOut, all.requests, all.requests, 0}
			if got != want {
				t.Errorf("counted %+v, the clients have %+v", got, want)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			slices.Sort(s.inner)
			slices.Sort(all.outer)
			for _, q := range []float64{0.01, 0.1, 0.5, 0.9, 0.99, 1} {
				at := max(0, int(q*float64(len(all.outer)))-1)
				low, high := s.inner[at], all.outer[min(at+1, len(all.outer)-1)]
				got := l.Latency.Quantile(q)
				if got < low-low/32-32 || got > high+high/32+32 {
					t.Errorf("quantile %v: %v, the server has %v, the clients %v", q, got, low, high)
				}
				t.Logf("quantile %v: %v, server %v, clients %v", q, got, low, high)
			}
		})
	}
}

// Which ends count as failed.
func TestRootFailedConnections(t *testing.T) {
	end := func(linger int, unread bool) func(*net.TCPConn) error {
		return func(c *net.TCPConn) error {
			if unread {
				if _, err := c.Read(make([]byte, 1)); err != nil {
					return err
				}
			}
			if linger == 0 {
				if err := c.SetLinger(0); err != nil {
					return err
				}
			}
			return c.Close()
		}
	}
	wait := func(c *net.TCPConn) error { _, err := io.Copy(io.Discard, c); c.Close(); return err }
	for _, c := range []struct {
		name           string
		client, server func(*net.TCPConn) error
		failed         uint64
	}{
		{"the client closes", end(-1, false), wait, 0},
		{"the server closes", wait, end(-1, true), 0},
		{"the client resets", end(0, false), wait, 1},
		{"the server resets", wait, end(0, true), 1},
		{"the server closes without having read all", wait, end(-1, true), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			w.serve(t, false, func(conn *net.TCPConn) { _ = c.server(conn) })
			conn := w.dial(t, web4)
			hello := "x"
			if c.failed == 1 {
				hello = "more than is read"
			}
			if _, err := io.WriteString(conn, hello); err != nil {
				t.Fatal(err)
			}
			_ = c.client(conn) // a reset by the server is an error there
			l := w.quiet(t, 1)
			if l.Failed != c.failed || l.BytesIn != uint64(len(hello)) {
				t.Errorf("%d failed, %d bytes, want %d and %d", l.Failed, l.BytesIn, c.failed, len(hello))
			}
		})
	}
}

func TestRootDatagramsAreCounted(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			var server net.PacketConn
			w.replica.Do(t, func() {
				var err error
				if server, err = net.ListenPacket("udp", "[::]:53"); err != nil {
					t.Fatal(err)
				}
			})
			defer server.Close()
			go func() {
				buf := make([]byte, 1<<16)
				for {
					n, from, err := server.ReadFrom(buf)
					if err != nil {
						return
					}
					if _, err := server.WriteTo(append(buf[:n], '!'), from); err != nil {
						return
					}
				}
			}()
			var client net.Conn
			w.client.Do(t, func() {
				var err error
				if client, err = net.Dial("udp", f.dns); err != nil {
					t.Fatal(err)
				}
			})
			defer client.Close()
			var in, out, n uint64
			buf := make([]byte, 1<<16)
			for _, size := range []int{0, 1, 512, 1400, 4000, 30_000} { // the last ones in fragments
				if _, err := client.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if err := client.SetReadDeadline(time.Now().Add(testutil.Timeout(5 * time.Second))); err != nil {
					t.Fatal(err)
				}
				got, err := client.Read(buf)
				if err != nil || got != size+1 {
					t.Fatalf("%d bytes (%v), want %d", got, err, size+1)
				}
				n, in, out = n+1, in+uint64(size), out+uint64(size)+1
			}
			if l := w.load(t); l.DatagramsIn != n || l.DatagramsOut != n || l.BytesIn != in || l.BytesOut != out {
				t.Errorf("counted %+v, want %d datagrams of %d and %d bytes", l, n, in, out)
			}
		})
	}
}

// waitQueue waits until so many connections wait for accept(), of the most that
// may.
func (w *wire) waitQueue(t testing.TB, want, most uint32) {
	t.Helper()
	testutil.WaitFor(t, 5*time.Second, "the accept queue", func() error {
		if l := w.load(t); l.AcceptQueue != want || l.AcceptMax != most {
			return fmt.Errorf("%d of %d wait, want %d of %d", l.AcceptQueue, l.AcceptMax, want, most)
		}
		return nil
	})
}

func TestRootAcceptQueue(t *testing.T) {
	w := newWire(t)
	w.waitQueue(t, 0, 0)
	fd := socketSpec{at: addrPort(web4)}.open(t, w.replica)
	second := socketSpec{at: addrPort(tls4)}.openFD(t, w.replica)
	w.waitQueue(t, 0, 32)
	for i := range uint32(3) {
		conn := w.dial(t, web4)
		defer conn.Close()
		w.waitQueue(t, i+1, 32)
	}
	conn := w.dial(t, tls4)
	defer conn.Close()
	w.waitQueue(t, 4, 32)
	closeFD(t, second)
	w.waitQueue(t, 3, 16)
	closeFD(t, acceptFD(t, fd))
	w.waitQueue(t, 2, 16)
}

// Listeners that share a port are added up, and one that serves both families
// counts once.
func TestRootAcceptQueueOfSharedPort(t *testing.T) {
	w := newWire(t)
	any6 := netip.AddrPortFrom(netip.IPv6Unspecified(), addrPort(web6).Port())
	for range 3 {
		socketSpec{at: any6, shared: true}.open(t, w.replica)
	}
	w.waitQueue(t, 0, 48)
	for i := range uint32(8) {
		conn := w.dial(t, []string{web4, web6}[i%2])
		defer conn.Close()
		w.waitQueue(t, i+1, 48)
	}
	alone := socketSpec{at: netip.AddrPortFrom(netip.IPv6Unspecified(), addrPort(tls4).Port())}.openFD(t, w.replica)
	w.waitQueue(t, 8, 64)
	closeFD(t, alone)
	w.waitQueue(t, 8, 48)
	if err := w.RemoveReplica(5, Replica{Ifindex: 1005, Cookie: w.replica.Cookie(t)}); err != nil {
		t.Fatal(err)
	}
	err := eachBatch(w.objs.FcQueues, 1, func(at dpFcQueueKey, _ []dpFcQueue) {
		t.Errorf("the port %d of replica %d is kept", at.Port, at.Replica)
	})
	if err != nil {
		t.Error(err)
	}
}

// Attempts and refusals are seen where packets are steered, repeated SYNs once.
func TestRootAttemptsAndFlows(t *testing.T) {
	testutil.Privileged(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t)
			r.listen(t, 1, vip4, vip6)
			at := r.replicaAt(t, 5)
			uplink, _ := deviceOf(t)
			r.site(t, 1, Site{Replicas: replicas(5)})
			want := func(what string, attempts, refused, flows uint64) {
				t.Helper()
				loads, err := r.Load([]ReplicaID{5, 6})
				if l := loads[5]; err != nil || len(loads) != 1 || l.Attempts != attempts || l.Refused != refused || l.UDPFlows != flows {
					t.Errorf("%s: %+v (%v), want %d attempts, %d refused, %d UDP flows", what, loads, err, attempts, refused, flows)
				}
				if l := loads[5]; l.Unfinished() != attempts-refused {
					t.Errorf("%s: %d unfinished, want %d", what, l.Unfinished(), attempts-refused)
				}
			}
			in := func(p packet) {
				t.Helper()
				for range 2 {
					r.device(t, "device", p, actRedirect, steered)
					r.want(t, "uplink", r.objs.FcUplink, p.frame(), uplink, actRedirect, steered)
				}
			}
			first := tcpPacket(f.client, f.web, syn)
			in(first)
			want("one handshake", 1, 0, 0)
			in(tcpPacket(f.client, f.web, ack, "data"))
			want("its data", 1, 0, 0)
			first.seq++
			in(first)
			want("the port used again", 2, 0, 0)
			in(udpPacket(f.client, f.dns, "query"))
			in(udpPacket(f.client, f.dns, "query"))
			want("a client's datagrams", 2, 0, 1)
			r.want(t, "refusal", r.objs.FcReplicaOut, first.reply(rst|ack).with(func(p *packet) { p.seq = 0 }).frame(), at,
				actRedirect, counted{"replied_uplink": 1})
			want("a refusal", 2, 1, 1)
			r.want(t, "reset", r.objs.FcReplicaOut, first.reply(rst|ack).with(func(p *packet) { p.seq = 7 }).frame(), at,
				actRedirect, counted{"replied_uplink": 1})
			want("a reset of a connection", 2, 1, 1)
		})
	}
}

// A site's own counters go when it is parked.
func TestRootSiteLoad(t *testing.T) {
	testutil.Privileged(t)
	r := newRig(t)
	r.listen(t, 1, vip4)
	want := func(what string, want SiteLoad) {
		t.Helper()
		got, err := r.SiteLoad(1)
		if err != nil || got != want {
			t.Errorf("%s: %+v (%v), want %+v", what, got, err, want)
		}
		all, err := r.SiteLoads()
		if err != nil || all[1] != want || len(all) > 1 {
			t.Errorf("%s: all are %+v (%v)", what, all, err)
		}
	}
	want("nothing yet", SiteLoad{})
	p := tcpPacket(client4, web4, syn)
	r.device(t, "held", p, actOK, holds)
	r.device(t, "held again", p, actOK, counted{"hold_duplicate": 1})
	want("held", SiteLoad{Held: 1})
	r.site(t, 1, Site{Refuse: true})
	r.device(t, "refused", p, actRedirect, toSink)
	want("refused", SiteLoad{Held: 1, Refused: 1})
	if err := r.ParkSite(1); err != nil {
		t.Fatal(err)
	}
	want("parked", SiteLoad{})
}

// Many replicas are read by few system calls, and one that goes takes its
// counters along.
func TestRootLoadOfManyReplicas(t *testing.T) {
	testutil.Privileged(t)
	d := openAt(t, Options{PinDir: pinDir(t)})
	const n = 2*loadBatch + 3
	var ids []ReplicaID
	for id := ReplicaID(1); id <= n; id++ {
		ids = append(ids, id)
		r := Replica{Site: 1, Ifindex: int(id), NSID: -1, Cookie: uint64(id), VIP4: vip4}
		if err := d.AddReplica(id, r); err != nil {
			t.Fatal(err)
		}
		perCPU := make([]dpFcLoad, ebpf.MustPossibleCPU())
		for cpu := range perCPU {
			perCPU[cpu].BytesIn = uint64(id)
		}
		if err := d.objs.FcLoads.Put(uint32(id), perCPU); err != nil {
			t.Fatal(err)
		}
		if err := d.objs.FcLatencies.Put(uint32(id), dpFcLatency{N: [latencyBuckets]uint64{latencyBuckets - 1: 3}}); err != nil {
			t.Fatal(err)
		}
	}
	loads, err := d.Load(ids)
	if err != nil || len(loads) != n {
		t.Fatalf("%d replicas (%v), want %d", len(loads), err, n)
	}
	cpus := uint64(ebpf.MustPossibleCPU())
	for id, l := range loads {
		if l.BytesIn != cpus*uint64(id) || l.Latency.Count() != 3 {
			t.Errorf("replica %d: %d bytes, %d latencies", id, l.BytesIn, l.Latency.Count())
		}
	}
	few, err := d.LoadOf(6, 7, n+1)
	if err != nil || len(few) != 2 || !reflect.DeepEqual(few[6], loads[6]) || !reflect.DeepEqual(few[7], loads[7]) {
		t.Errorf("read one by one: %v (%v), want %v and %v", few, err, loads[6], loads[7])
	}
	if err := d.RemoveReplica(7, Replica{Ifindex: 7, Cookie: 7}); err != nil {
		t.Fatal(err)
	}
	if loads, err = d.Load([]ReplicaID{6, 7}); err != nil || len(loads) != 1 || loads[6].BytesIn == 0 {
		t.Errorf("after the end of replica 7: %v (%v)", loads, err)
	}
	var v []dpFcLoad
	var h dpFcLatency
	if d.objs.FcLoads.Lookup(uint32(7), &v) == nil || d.objs.FcLatencies.Lookup(uint32(7), &h) == nil {
		t.Error("the counters of replica 7 are still there")
	}
}
