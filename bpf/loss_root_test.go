package bpf

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/fcnode/fcnode/tests/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lose makes the cable's end in a namespace lose every sixteenth packet that it
// sends, at random.
func lose(t testing.TB, ns *testutil.NS) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.FnGetPrandomU32.Call(),
			asm.And.Imm(asm.R0, 15),
			asm.JEq.Imm(asm.R0, 0, "lost"),
			asm.Mov.Imm(asm.R0, actOK),
			asm.Return(),
			asm.Mov.Imm(asm.R0, actShot).WithSymbol("lost"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	l, err := ns.Netlink().LinkByName("fctest")
	if err != nil {
		t.Fatal(err)
	}
	f := filterOf(hookDevice, l.Attrs().Index)
	f.Fd, f.Name, f.DirectAction = prog.FD(), "lose", true
	err = errors.Join(ns.Netlink().QdiscAdd(clsactOf(l.Attrs().Index)), ns.Netlink().FilterAdd(netlink.Filter(f)))
	if err != nil {
		t.Fatal(err)
	}
}

// What is sent again, or arrives out of order, counts once.
func TestRootCountedExactlyWithLoss(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWire(t)
			var s slowServer
			w.serve(t, false, s.serve)
			var conns []*net.TCPConn
			for range 6 {
				conns = append(conns, w.dial(t, f.web))
			}
			w.connections(t, 6, 6) // with the end of a handshake lost, the first request would come in its place
			lose(t, w.client)
			lose(t, w.replica)
			var mu sync.Mutex
			var all clientCount
			var wg sync.WaitGroup
			for _, c := range conns {
				wg.Go(func() {
					n, err := talk(c, 2+rand.IntN(4), false)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					all.add(n)
				})
			}
			wg.Wait()
			l := w.quiet(t, all.conns)
			if l.BytesIn != all.bytesIn || l.BytesOut != all.bytesOut || l.Requests != all.requests || l.Failed != 0 {
				t.Errorf("counted %d bytes in, %d out, %d requests, %d failed; the clients have %d, %d, %d",
					l.BytesIn, l.BytesOut, l.Requests, l.Failed, all.bytesIn, all.bytesOut, all.requests)
			}
		})
	}
}

// A client may send its request with the last packet of the handshake, which
// goes to the listener: it is counted when it is answered, and not measured.
func TestRootRequestInTheHandshake(t *testing.T) {
	const get, ok = "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"
	for _, c := range []struct {
		name                       string
		script                     []line
		requests, answers, noTurns uint64
	}{
		{"HTTP", []line{asks(get), answers(ok), asks(get), answers(ok)}, 2, 1, 0},
		{"something else", []line{asks("PING"), answers("PONG")}, 0, 0, 1},
		{"no answer", []line{asks("PING")}, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			failed := make(chan error, 1)
			w.serve(t, false, func(conn *net.TCPConn) { failed <- play(c.script, conn, true) })
			// waits for data to send its acknowledgement with
			late := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
				cerr := raw.Control(func(fd uintptr) {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
				})
				return errors.Join(cerr, err)
			}}
			var conn net.Conn
			w.client.Do(t, func() {
				var err error
				if conn, err = late.DialContext(t.Context(), "tcp", web4); err != nil {
					t.Fatal(err)
				}
			})
			if err := play(c.script, conn, false); err != nil {
				t.Error(err)
			}
			l := w.quiet(t, 1)
			if err := <-failed; err != nil {
				t.Error(err)
			}
			var in uint64
			for _, l := range c.script {
				if !l.server {
					in += uint64(len(l.text))
				}
			}
			if l.Requests != c.requests || l.Latency.Count() != c.answers || l.NoTurns != c.noTurns || l.BytesIn != in {
				t.Errorf("%d requests, %d measured, %d without turns, %d bytes, want %d, %d, %d, %d",
					l.Requests, l.Latency.Count(), l.NoTurns, l.BytesIn, c.requests, c.answers, c.noTurns, in)
			}
		})
	}
}
