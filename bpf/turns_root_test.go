package bpf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func acceptFD(t testing.TB, listener int) int {
	t.Helper()
	fd, _, err := unix.Accept(listener)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// line is what one side says, and the other waits for.
type line struct {
	server bool
	text   string
}

func asks(text string) line    { return line{false, text} }
func answers(text string) line { return line{true, text} }

// play has a conversation in which nobody speaks before the last word was
// heard.
func play(script []line, c net.Conn, server bool) error {
	defer c.Close()
	for _, l := range script {
		if l.server == server {
			if _, err := io.WriteString(c, l.text); err != nil {
				return err
			}
			continue
		}
		got := make([]byte, len(l.text))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte(l.text)) {
			return err
		}
	}
	if server { // the client ends it
		_, err := io.Copy(io.Discard, c)
		return err
	}
	return nil
}

func TestRootTurns(t *testing.T) {
	const get, ok = "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"
	for _, c := range []struct {
		name                       string
		script                     []line
		requests, answers, noTurns uint64
	}{
		{"HTTP", []line{asks(get), answers(ok)}, 1, 1, 0},
		{"keep-alive", []line{asks(get), answers(ok), asks(get), answers(ok), asks("HEAD /x"), answers(ok)}, 3, 3, 0},
		{"in pieces", []line{asks("POST / HTTP/1.1\r\n"), asks("\r\nbody"), answers(ok), answers("more"), asks(get), answers(ok)}, 2, 2, 0},
		{"nobody answers", []line{asks(get)}, 1, 0, 0},
		{"100-continue", []line{asks("POST / HTTP/1.1\r\n\r\n"), answers("HTTP/1.1 100 Continue\r\n\r\n"), asks("body"), answers(ok)}, 1, 1, 0},
		{"early hints", []line{asks(get), answers("HTTP/1.1 103 Early Hints\r\n\r\n"), answers(ok)}, 1, 1, 0},
		{"WebSocket", []line{asks(get), answers("HTTP/1.1 101 Switching Protocols\r\n\r\n"), answers("push"), asks("x"), answers("y")}, 1, 0, 1},
		{"HTTP/2", []line{asks("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), answers("settings"), asks("x"), answers("y")}, 0, 0, 1},
		{"a tunnel", []line{asks("CONNECT x:1 HTTP/1.1\r\n\r\n"), answers(ok)}, 0, 0, 1},
		{"pipelined", []line{asks(get), asks(get), answers(ok), answers(ok)}, 1, 0, 1},
		{"pipelined later", []line{asks(get), answers(ok), asks(get), asks(get), answers(ok), answers(ok)}, 2, 1, 1},
		{"answered while it is still sent", []line{asks("POST / HTTP/1.1\r\n\r\nbo"), answers(ok), asks("dy"), answers("x")}, 1, 1, 1},
		{"the server speaks first", []line{answers("220 mail"), asks("EHLO x"), answers("250 x")}, 0, 0, 1},
		{"something unknown", []line{asks("PING"), answers("PONG"), asks("P"), answers("Q"), asks("x"), asks("y"), answers("z")}, 3, 3, 0},
		{"nothing at all", nil, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			failed := make(chan error, 1)
			w.serve(t, true, func(conn *net.TCPConn) { failed <- play(c.script, conn, true) })
			lockstep(t, w.dial(t, web4), c.script)
			l := w.quiet(t, 1)
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
			if l.Requests != c.requests || l.Latency.Count() != c.answers || l.NoTurns != c.noTurns {
				t.Errorf("%d requests, %d measured, %d without turns, want %d, %d, %d",
					l.Requests, l.Latency.Count(), l.NoTurns, c.requests, c.answers, c.noTurns)
			}
		})
	}
}

// lockstep plays the client's part, each of its lines in a segment of its own.
func lockstep(t testing.TB, c *net.TCPConn, script []line) {
	t.Helper()
	if err := play(script, c, false); err != nil {
		t.Error(err)
	}
}

// Handshakes are no requests. The first answer by TLS 1.3 is not measured, as
// it looks like the server's session tickets, and nothing is of who offers
// HTTP/2.
func TestRootTurnsInTLS(t *testing.T) {
	for _, c := range []struct {
		name                       string
		config                     *tls.Config
		requests, answers, noTurns uint64
	}{
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, 3, 3, 0},
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13}, 3, 2, 0},
		{"1.3, HTTP/1.1 only", &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}, 3, 2, 0},
		{"1.3 with another group first", &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP384}}, 3, 2, 0},
		{"HTTP/2 offered", &tls.Config{NextProtos: []string{"http/1.1", "h2"}}, 0, 0, 1},
		{"HTTP/2 offered by 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}, 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			script := []line{asks("GET /1 and more"), answers("one"), asks("GET /2 and more"), answers("two"), asks("GET /3 and more"), answers("three")}
			server := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"http/1.1"}}
			failed := make(chan error, 1)
			w.serve(t, false, func(conn *net.TCPConn) { failed <- play(script, tls.Server(conn, server), true) })
			c.config.InsecureSkipVerify = true
			if len(c.config.NextProtos) == 1 && c.config.NextProtos[0] == "h2" {
				server.NextProtos = []string{"h2"}
			}
			if err := play(script, tls.Client(w.dial(t, web4), c.config), false); err != nil {
				t.Error(err)
			}
			l := w.quiet(t, 1)
			if err := <-failed; err != nil {
				t.Error(err)
			}
			if l.Requests != c.requests || l.Latency.Count() != c.answers || l.NoTurns != c.noTurns {
				t.Errorf("%d requests, %d measured, %d without turns, want %d, %d, %d",
					l.Requests, l.Latency.Count(), l.NoTurns, c.requests, c.answers, c.noTurns)
			}
		})
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
