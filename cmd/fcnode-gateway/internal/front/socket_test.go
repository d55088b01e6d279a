package front

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// No connection that comes while Caddy is given another configuration is refused or reset. What Go's server closes without a word is
// one on which it reads the first request after it has begun to shut down.
func TestReloadsResetNobody(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}})
	r.site("a", func(http.ResponseWriter, *http.Request) {}, nil)
	r.rates.each = 0 // as many visits as the machine can
	ctx, cancel := context.WithCancel(t.Context())
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			for ctx.Err() == nil {
				c := r.client("1")
				resp, err := c.Get("http://a.example/")
				if errors.Is(err, io.EOF) {
					continue
				}
				if err != nil {
					t.Errorf("a visitor: %v", err)
					return
				}
				resp.Body.Close()
				c.CloseIdleConnections()
			}
		})
	}
	for range 30 {
		if err := r.Reload(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	visitors.Wait()
}

// What a listener cannot accept at the moment is told, and the next connection is taken; a share that is closed leaves all to others.
func TestSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := &failsOnce{Listener: l}
	s := &socket{Listener: failing, conns: make(chan net.Conn), closed: make(chan struct{})}
	go s.pump()
	first, second := &share{socket: s, closed: make(chan struct{})}, &share{socket: s, closed: make(chan struct{})}
	if _, err := first.Accept(); !errors.Is(err, errOnce) {
		t.Errorf("the error is %v", err)
	}
	first.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got.Close()
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a share that is closed: %v", err)
	}
	s.Close()
	if _, err := second.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a share of a socket that is closed: %v", err)
	}
}

var errOnce = errors.New("too many open files")

type failsOnce struct {
	net.Listener
	once sync.Once
}

func (l *failsOnce) Accept() (c net.Conn, err error) {
	l.once.Do(func() { err = errOnce })
	if err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}
