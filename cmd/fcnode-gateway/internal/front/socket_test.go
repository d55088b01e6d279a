package front

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
)

// No connection that comes while Caddy is given another configuration is refused, reset or closed without an answer.
func TestReloadsLoseNoConnection(t *testing.T) {
	r := start(t, options{names: []string{"a.example"}, first: firstWithin})
	r.site("a", func(http.ResponseWriter, *http.Request) {}, nil)
	r.rates.each = 0 // as many visits as the machine can
	ctx, cancel := context.WithCancel(t.Context())
	var visitors sync.WaitGroup
	for i := range 4 {
		url := []string{"https://a.example/", "http://a.example/"}[i%2]
		visitors.Go(func() {
			for ctx.Err() == nil {
				c := r.client("1")
				resp, err := c.Get(url)
				if err != nil {
					t.Errorf("a visitor: %v", err)
					return
				}
				resp.Body.Close()
				c.CloseIdleConnections()
			}
		})
	}
	for range 8 {
		if err := r.Reload(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	visitors.Wait()
}

// The newest share gets the connections; when it is closed again, as that of a configuration that could not be used, the one
// before it does. What a listener cannot accept at the moment is told, and the next connection is taken.
func TestSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(&failsOnce{Listener: l})
	first := s.share()
	if _, err := first.Accept(); !errors.Is(err, errOnce) {
		t.Errorf("the error is %v", err)
	}
	second := s.share()
	comesTo := func(sh *share) {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := sh.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got.RemoteAddr().String() != c.LocalAddr().String() {
			t.Errorf("the connection of %s came instead of that of %s", got.RemoteAddr(), c.LocalAddr())
		}
		got.Close()
	}
	comesTo(second)
	second.Close()
	if _, err := second.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a share that is closed: %v", err)
	}
	comesTo(first)
	s.Close()
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a share of a socket that is closed: %v", err)
	}
	if _, err := s.share().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a new share of a socket that is closed: %v", err)
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
