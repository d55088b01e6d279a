package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/fcnode/fcnode/tests/testutil"
	"golang.org/x/sys/unix"
)

// BenchmarkRootOpen is what a daemon's start costs here: making the maps, and
// the verifier's look at all programs.
func BenchmarkRootOpen(b *testing.B) {
	testutil.Privileged(b)
	for range b.N {
		d, err := Open(Options{PinDir: pinDir(b)})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(d.Close(), Remove(d.opts.PinDir)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRootPrograms is what one packet costs in each program that steers.
func BenchmarkRootPrograms(b *testing.B) {
	testutil.Privileged(b)
	r := newRig(b)
	r.listen(b, 1, vip4, vip6)
	at := r.replicaAt(b, 5)
	uplink, _ := deviceOf(b)
	r.site(b, 1, Site{Replicas: replicas(5)})
	for _, f := range families {
		first, data := tcpPacket(f.client, f.web, syn), tcpPacket(f.client, f.web, ack, "data")
		r.device(b, "the flow", first, actRedirect, steered)
		if err := r.objs.FcFlows.Put(flowKey(first), dpFcFlow{Replica: 5}); err != nil { // its socket would
			b.Fatal(err)
		}
		own := tcpPacket(own(f.client), f.client, ack, "data")
		for _, c := range []struct {
			name    string
			prog    *ebpf.Program
			frame   []byte
			ifindex int
		}{
			{"device, SYN", r.objs.FcDevice, first.frame(), 0},
			{"device, data", r.objs.FcDevice, data.frame(), 0},
			{"device, datagram", r.objs.FcDevice, udpPacket(f.client, f.dns, "query").frame(), 0},
			{"uplink, data", r.objs.FcUplink, data.frame(), uplink},
			{"replica, answer", r.objs.FcReplicaOut, data.reply(ack, "200").frame(), at},
			{"replica, its own", r.objs.FcReplicaOut, own.frame(), at},
			{"device, answer to it", r.objs.FcDevice, own.reply(ack, "200").frame(), 0},
			{"uplink, answer to it", r.objs.FcUplink, own.reply(ack, "200").frame(), uplink},
		} {
			b.Run(f.name+", "+c.name, func(b *testing.B) {
				best := time.Hour // what else the machine does only adds to it
				for range b.N {
					o := &ebpf.RunOptions{Data: c.frame, Repeat: 1000}
					if c.ifindex != 0 {
						o.Context = skbContext{Ifindex: uint32(c.ifindex)}
					}
					began := time.Now()
					if _, err := c.prog.Run(o); err != nil {
						b.Fatal(err)
					}
					best = min(best, time.Since(began)/time.Duration(o.Repeat))
				}
				b.ReportMetric(float64(best.Nanoseconds()), "ns/packet")
			})
		}
	}
}

// BenchmarkRootLoad is a reading of 1,000 replicas, all with latencies.
func BenchmarkRootLoad(b *testing.B) {
	testutil.Privileged(b)
	d := openAt(b, Options{PinDir: pinDir(b)})
	var ids []ReplicaID
	for id := ReplicaID(1); id <= 1000; id++ {
		ids = append(ids, id)
		err := d.AddReplica(id, Replica{Site: SiteID(id), Ifindex: int(id), NSID: -1, Cookie: uint64(id), VIP4: vip4})
		if err == nil {
			err = d.objs.FcLatencies.Put(uint32(id), dpFcLatency{N: [latencyBuckets]uint64{300: 1}})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if loads, err := d.Load(ids); err != nil || len(loads) != len(ids) {
			b.Fatal(len(loads), err)
		}
	}
}

// BenchmarkRootCounting is what counting costs a request: rounds of small turns
// on eight connections, with the counting programs attached and without, in
// turns. Once with a server that does nothing but echo, once with Go's for
// HTTP.
func BenchmarkRootCounting(b *testing.B) {
	b.Run("echo", func(b *testing.B) {
		w := newWire(b)
		w.serve(b, false, func(c *net.TCPConn) {
			defer c.Close()
			for buf := make([]byte, 128); ; {
				if _, err := io.ReadFull(c, buf); err != nil {
					return
				}
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		})
		w.costOfCounting(b, pingPong)
	})
	b.Run("HTTP", func(b *testing.B) {
		w := newWire(b)
		s := &http.Server{Handler: http.HandlerFunc(func(a http.ResponseWriter, _ *http.Request) {
			_, _ = a.Write(make([]byte, 128))
		})}
		b.Cleanup(func() { s.Close() })
		l := w.listener(b, false)
		go func() { _ = s.Serve(l) }()
		w.costOfCounting(b, getAgain)
	})
}

func (w *wire) costOfCounting(b *testing.B, talk func(c net.Conn, turns int) error) {
	b.Helper()
	var conns []net.Conn
	elsewhere(b, func() { // as visitors are: a socket belongs to the cgroup that it was made in
		for range 8 {
			conns = append(conns, w.dial(b, web4))
		}
	})
	w.trigger(b)
	const turns = 2000 // of each connection in a round
	var wall, cpu [2][]time.Duration
	n := time.Duration(turns * len(conns))
	for range b.N {
		for with := range 2 {
			w.count(b, with == 1)
			began, before := time.Now(), cpuTime(b)
			eachTalks(b, conns, turns, talk)
			wall[with] = append(wall[with], time.Since(began)/n)
			cpu[with] = append(cpu[with], (cpuTime(b)-before)/n)
		}
	}
	inPrograms := w.timeInPrograms(b, func() { eachTalks(b, conns, turns, talk) })
	b.ReportMetric(float64((inPrograms / n).Nanoseconds()), "in-programs-ns/turn")
	for _, c := range conns {
		c.Close()
	}
	report := func(name string, v [2][]time.Duration) {
		var ratios []float64
		for i := range v[0] {
			ratios = append(ratios, float64(v[1][i])/float64(v[0][i]))
		}
		slices.Sort(ratios)
		slices.Sort(v[0])
		b.ReportMetric(float64(v[0][len(v[0])/2].Nanoseconds()), name+"-ns/turn")
		b.ReportMetric(ratios[len(ratios)/2], name+"-with/without")
	}
	report("wall", wall)
	report("cpu", cpu)
}

// elsewhere runs f with this process in a cgroup whose sockets are not counted.
func elsewhere(b testing.TB, f func()) {
	b.Helper()
	dir := filepath.Join(filepath.Dir(ownCgroup), "visitors")
	enter := func(dir string) error { return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644) }
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = enter(dir)
	}
	if err != nil {
		b.Fatal(err)
	}
	f()
	if err := errors.Join(enter(ownCgroup), os.Remove(dir)); err != nil {
		b.Fatal(err)
	}
}

// timeInPrograms is what the kernel measures in the counting programs
// meanwhile.
func (w *wire) timeInPrograms(b testing.TB, do func()) (d time.Duration) {
	b.Helper()
	on, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer on.Close()
	programs := []*ebpf.Program{w.objs.FcCountIn, w.objs.FcCountOut}
	stats := func() (all []*ebpf.ProgramStats) {
		for _, p := range programs {
			st, err := p.Stats()
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, st)
		}
		return all
	}
	before := stats() // others have run the same programs
	do()
	for i, after := range stats() {
		took, runs := after.Runtime-before[i].Runtime, after.RunCount-before[i].RunCount
		b.Logf("%v: %d runs, %v each", programs[i], runs, took/time.Duration(max(runs, 1)))
		d += took
	}
	return d
}

func eachTalks(b testing.TB, conns []net.Conn, turns int, talk func(net.Conn, int) error) {
	b.Helper()
	done := make(chan error)
	for _, c := range conns {
		go func() { done <- talk(c, turns) }()
	}
	for range conns {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func (w *wire) trigger(t testing.TB) {
	t.Helper()
	if err := w.SetTrigger(1, Trigger{ConnsPerReplica: 1000, Latency: time.Second}); err != nil {
		t.Fatal(err)
	}
}

// count attaches the counting programs, or takes them off.
func (w *wire) count(t testing.TB, on bool) {
	t.Helper()
	if on {
		if err := w.AttachCgroup(ownCgroup); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"ingress", "egress"} {
		l, err := link.LoadPinnedLink(filepath.Join(linksDir(w.opts.PinDir), "cgroup-"+name), nil)
		if err == nil {
			err = l.Unpin()
		}
		if err == nil {
			err = l.Detach()
		}
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

func pingPong(c net.Conn, turns int) error {
	buf := make([]byte, 128)
	copy(buf, "GET / HTTP/1.1\r\n")
	for range turns {
		if _, err := c.Write(buf); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
	}
	return nil
}

func getAgain(c net.Conn, turns int) error {
	in := bufio.NewReader(c)
	for range turns {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		a, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		_, err = io.Copy(io.Discard, a.Body)
		if err := errors.Join(err, a.Body.Close()); err != nil {
			return err
		}
	}
	return nil
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
